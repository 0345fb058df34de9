"""The commands: one for each suite, and ``all``."""

from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SIZES, SizeName
from bench.suites.registry import SUITES
from scheduler_repo.cli.command_group import add_debug_option
from scheduler_repo.cli.options import DATABASE_URL_OPTION, FilePath, WholeNumber, whole_number_option
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.cli.process.secret_arguments import URL_OPTIONS, came_as_option

if TYPE_CHECKING:
    from bench.data.trace import TraceFiles
    from scheduler_repo.settings import DatabaseSettings

_ALL: Final = "all"
_MAX_TURNS: Final = 10_000
_SIZE_HELP: Final = "; ".join(
    f"{name}: {size.agents:,} agents, {size.running:,} running, {size.pending:,} pending, "
    f"{size.finished:,} finished"
    for name, size in SIZES.items()
)


class SuiteGroup(click.Group):
    """A group whose commands are the suites; an unknown one is told which there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        """Find the command of the first argument; raises UsageError, which names all."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"There is no suite {name!r}; there are {', '.join(self.list_commands(ctx))}.")
        return super().resolve_command(ctx, args)


def _suite_command(name: str, about: str) -> click.Command:
    @click.command(name, short_help=about, help=_help(name, about))
    @click.option(
        "--size",
        "size_name",
        type=click.Choice([size.value for size in SizeName]),
        default=SizeName.S.value,
        show_default=True,
        help=f"The size of the cluster. {_SIZE_HELP}.",
    )
    @whole_number_option(
        "--turns", WholeNumber(1, _MAX_TURNS), "Turns of each side, instead of the suite's own."
    )
    @whole_number_option("--seed", WholeNumber(), "The same seed makes the same cluster.", DEFAULT_SEED)
    @click.option(
        "--trace-nodes",
        type=FilePath(),
        metavar="FILE",
        help="CSV of nodes, instead of a synthetic cluster; with --trace-pods.",
    )
    @click.option(
        "--trace-pods",
        type=FilePath(),
        metavar="FILE",
        help="CSV of tasks; with --trace-nodes.",
    )
    @click.option(
        DATABASE_URL_OPTION,
        metavar="URL",
        help="Your PostgreSQL, instead of an embedded one: postgresql://user@host:port/database. Everything "
        "goes into a schema of a new name, which is dropped at the end.",
    )
    @click.option("--beside-other-data", is_flag=True, help="Use a --database-url that holds other data too.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object; all else goes to stderr.")
    @click.option(
        "--output",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="FOLDER",
        help="Write the JSON object to FOLDER/SUITE.json too, whole or not at all.",
    )
    @click.option("--check", is_flag=True, help="Exit with 1 if a threshold that holds at this size is missed.")
    @click.pass_obj
    def command(
        invocation: Invocation,
        size_name: str,
        turns: Optional[int],
        seed: Optional[int],
        trace_nodes: Optional[Path],
        trace_pods: Optional[Path],
        database_url: Optional[str],
        beside_other_data: bool,
        as_json: bool,
        output: Optional[Path],
        check: bool,
    ) -> int:
        names = list(SUITES) if name == _ALL else [name]
        if as_json and len(names) > 1:
            raise click.UsageError(
                "--json prints the object of one suite; give --output FOLDER for all of them."
            )
        trace = _read_trace_options(names, trace_nodes, trace_pods)
        settings = _read_database(database_url)
        if beside_other_data and settings is None:
            raise click.UsageError(
                f"--beside-other-data is for your own database; give {DATABASE_URL_OPTION} too."
            )
        from bench.cli.run import BenchRun

        run = BenchRun(
            invocation=invocation,
            suites=[SUITES[each] for each in names],
            size_name=SizeName(size_name),
            turns=turns,
            seed=DEFAULT_SEED if seed is None else seed,
            trace=trace,
            database=settings,
            beside_other_data=beside_other_data,
            as_json=as_json,
            output=output,
            check=check,
        )
        return run.execute()

    return command


def _help(name: str, about: str) -> str:
    what = "every suite, one after the other" if name == _ALL else about
    return (
        f"Measure {what}.\n\nEach case runs in turns with the raw driver doing the same statements and "
        "nothing else (the floor), and with the way in which one would write it first (the plain way). Ctrl-C, "
        "or any error, removes the embedded server, or the schema in yours, with all that was loaded."
    )


def _read_trace_options(
    names: list[str], nodes: Optional[Path], pods: Optional[Path]
) -> "Optional[TraceFiles]":
    if nodes is None and pods is None:
        return None
    if nodes is None or pods is None:
        raise click.UsageError("--trace-nodes and --trace-pods belong together; give both or neither.")
    own = [name for name in names if not SUITES[name].takes_trace]
    if own:
        usable = ", ".join(name for name, suite in SUITES.items() if suite.takes_trace)
        raise click.UsageError(
            f"Suite {own[0]} makes clusters of its own; leave the trace out, or measure it with {usable}."
        )
    from bench.data.trace import TraceFiles

    return TraceFiles(nodes, pods)


def _read_database(database_url: Optional[str]) -> "Optional[DatabaseSettings]":
    """Read where the user's database is. The environment's is not taken unasked: clusters are loaded there."""
    from scheduler_repo.cli.options import read_settings
    from scheduler_repo.settings import Settings

    settings: Settings = read_settings(database_url, None)
    if database_url is None and not came_as_option(DATABASE_URL_OPTION):
        return None
    if settings.database is None:
        raise click.UsageError(f"{URL_OPTIONS[DATABASE_URL_OPTION]} is empty; give a URL.")
    return settings.database


@click.group(
    cls=SuiteGroup,
    commands=[
        *(_suite_command(suite.name, suite.about) for suite in SUITES.values()),
        _suite_command(_ALL, "every suite, one after the other"),
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
def command_line() -> None:
    """Measure the data-access engine, suite by suite.

    Start with "python -m bench read": it needs nothing but the extra "bench".
    """


add_debug_option(command_line)
