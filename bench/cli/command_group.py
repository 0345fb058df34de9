"""The commands: one for each suite, ``all``, ``profile`` and ``report``."""

from pathlib import Path
from typing import Final, Optional

import click

from bench.cli.options import (
    cluster_options,
    database_options,
    read_database,
    read_trace_options,
    trace_options,
)
from bench.cli.profile_command import profile
from bench.cli.report import report
from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SizeName
from bench.suites.registry import SUITES
from scheduler_repo.cli.command_group import add_debug_option
from scheduler_repo.cli.process.invocation import Invocation

_ALL: Final = "all"


class SuiteGroup(click.Group):
    """A group whose commands are the suites, and a few more; an unknown one is told which suites there are."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[Optional[str], Optional[click.Command], list[str]]:
        """Find the command of the first argument; raises UsageError, which names all."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            ctx.fail(f"There is no suite {name!r}; there are {', '.join((*SUITES, _ALL))}.")
        return super().resolve_command(ctx, args)


def _suite_command(name: str, about: str) -> click.Command:
    @click.command(name, short_help=about, help=_help(name, about))
    @cluster_options
    @trace_options
    @database_options
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
        trace = read_trace_options(names, trace_nodes, trace_pods)
        settings = read_database(database_url, beside_other_data=beside_other_data)
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


@click.group(
    cls=SuiteGroup,
    commands=[
        *(_suite_command(suite.name, suite.about) for suite in SUITES.values()),
        _suite_command(_ALL, "every suite, one after the other"),
        profile,
        report,
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
def command_line() -> None:
    """Measure the data-access engine, suite by suite.

    Start with "python -m bench read": it needs nothing but the extra "bench".
    """


add_debug_option(command_line)
