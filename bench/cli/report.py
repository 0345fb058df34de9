"""``python -m bench report``: the page of a run, or of the results of an earlier one."""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from bench.cli.options import cluster_options, database_options, read_database
from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SizeName
from bench.suites.registry import SUITES
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.terminal import say
from scheduler_repo.errors import InvalidInput, MissingDependency

if TYPE_CHECKING:
    from bench.report.saved import SavedSuite
    from scheduler_repo.settings import DatabaseSettings

_CHECKOUT: Final = Path(__file__).parents[2]
_USUAL: Final = SizeName.M
_PAGE: Final = Path("bench-report.html")
# What can be said of a page whose results are there already.
_WITHOUT_A_RUN: Final = frozenset({"source", "output"})


@click.command("report", short_help="one page with plots of all suites, or of an earlier run")
@click.option(
    "--suite",
    "names",
    type=click.Choice(list(SUITES)),
    multiple=True,
    metavar="SUITE",
    help="Run this one; may be given several times. [default: all]",
)
@cluster_options
@database_options
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Keep the results: the JSON object of each suite, in FOLDER/SUITE.json.",
)
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Run nothing: show the results that FOLDER has of earlier runs.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    default=_PAGE,
    show_default=True,
    help="The page, written whole or not at all.",
)
@click.option(
    "--refresh",
    is_flag=True,
    help="For this repository: run at size M unless told otherwise, keep the results in bench/results (another "
    "size's in bench/results/SIZE), and write the figures of the READMEs anew.",
)
@click.option(
    "--readme",
    is_flag=True,
    help="For this repository: run nothing, write no page, only write the figures of the READMEs anew from "
    "bench/results.",
)
@click.pass_context
def report(
    context: click.Context,
    names: tuple[str, ...],
    size_name: str,
    turns: Optional[int],
    seed: Optional[int],
    database_url: Optional[str],
    beside_other_data: bool,
    keep: Optional[Path],
    source: Optional[Path],
    output: Path,
    refresh: bool,
    readme: bool,
) -> int:
    """Write one HTML page with plots of what the suites measure.

    The page needs no other file, no script and no network. Ctrl-C, or any error, leaves one that was there.
    """
    if readme:
        _refuse_others(context, "--readme", frozenset({"readme"}))
        _write_readmes()
        return 0
    _require_packages()
    _require_place(output)
    if source is not None:
        _refuse_others(context, "--from", _WITHOUT_A_RUN)
        from bench.report.saved import read_folder

        _write_page(read_folder(source), output)
        return 0
    if refresh and keep is not None:
        raise click.UsageError("--refresh keeps the results in bench/results; leave out --keep.")
    size = _USUAL if refresh and not _was_given(context, "size_name") else SizeName(size_name)
    database = read_database(database_url, beside_other_data=beside_other_data)
    folder = _folder_of(size) if refresh else keep
    suites = _run(
        context, tuple(dict.fromkeys(names or SUITES)), size, turns, seed, database, beside_other_data, folder
    )
    _write_page(suites, output)
    if refresh:
        _write_readmes()
    return 0


def _run(
    context: click.Context,
    names: Sequence[str],
    size: SizeName,
    turns: Optional[int],
    seed: Optional[int],
    database: "Optional[DatabaseSettings]",
    beside_other_data: bool,
    folder: Optional[Path],
) -> "tuple[SavedSuite, ...]":
    from bench.cli.run import BenchRun
    from bench.report.saved import read_back

    run = BenchRun(
        invocation=context.ensure_object(Invocation),
        suites=[SUITES[name] for name in names],
        size_name=size,
        turns=turns,
        seed=DEFAULT_SEED if seed is None else seed,
        trace=None,
        database=database,
        beside_other_data=beside_other_data,
        output=folder,
        shows_tables=False,
    )
    run.execute()
    return tuple(map(read_back, run.results))


def _refuse_others(context: click.Context, option: str, allowed: frozenset[str]) -> None:
    """Refuse what is for a run, where nothing is run."""
    for parameter in context.command.params:
        name = str(parameter.name)
        if name not in allowed and _was_given(context, name):
            raise click.UsageError(f"{option} runs nothing; leave out {parameter.opts[0]}.")


def _was_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _folder_of(size: SizeName) -> Path:
    """Return where this repository keeps results: those at size M on top, others in folders of their own."""
    results = _CHECKOUT / "bench" / "results"
    return results if size is _USUAL else results / size.value


def _require_packages() -> None:
    """Refuse before anything is measured what could not be written afterwards; raises MissingDependency."""
    try:
        importlib.import_module("jinja2")
    except ImportError as error:
        raise MissingDependency("jinja2 is not installed; pip install 'scheduler-repo[bench]'") from error


def _require_place(output: Path) -> None:
    """Refuse a folder that is not there, and a file that is no page of an earlier report."""
    if not output.parent.is_dir():
        raise InvalidInput(f"there is no folder {output.parent} for {output.name}; make it, or give another")
    if not os.access(output.parent, os.W_OK):
        raise InvalidInput(f"folder {output.parent} cannot be written to; give another --output")
    from bench.report.page import MARK

    if output.exists() and not (output.is_file() and MARK in output.read_text("utf-8", errors="replace")[:200]):
        raise InvalidInput(f"{output} is no earlier report, and is left as it is; give another --output")


def _write_page(suites: "Sequence[SavedSuite]", output: Path) -> None:
    from bench.cli.run import write_whole
    from bench.report.page import render_page

    write_whole(output, render_page(suites).encode())
    say(f"report: {output.absolute().as_uri()}")


def _write_readmes() -> None:
    from bench.cli.run import write_whole
    from bench.report.readme import find_readmes, read_results, write_figures

    suites = read_results(_folder_of(_USUAL))
    texts = {path: path.read_text("utf-8") for path in find_readmes(_CHECKOUT)}
    # All of them before the first is written: one that cannot be leaves the others as they are.
    rendered = {path: write_figures(text, suites, path) for path, text in texts.items()}
    for path, text in rendered.items():
        name = path.relative_to(_CHECKOUT)
        if text == texts[path]:
            say(f"{name}: as it is in the results")
        else:
            write_whole(path, text.encode())
            say(f"{name}: written anew")
