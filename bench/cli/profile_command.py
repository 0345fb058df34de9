"""``python -m bench profile``: takes a profile of a suite, or compares two that were kept."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional

import click

from bench.cli.options import (
    SIZE_OPTION,
    cluster_options,
    read_database,
    read_trace_options,
    trace_options,
)
from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SizeName
from bench.suites.registry import SUITES
from scheduler_repo.cli.options import DATABASE_URL_OPTION, parse_group_name
from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.errors import MissingDependency
from scheduler_repo.types import ScalingGroupName

if TYPE_CHECKING:
    from bench.suites.suite import Suite

DEFAULT_TURNS: Final = 5
# Suites that read and nothing else where they are told to.
OWN_DATABASE_SUITES: Final = ("read", "tick")
_OF_A_PROFILE: Final = (
    "size_name",
    "turns",
    "seed",
    "trace_nodes",
    "trace_pods",
    "database_url",
    "group",
    "case",
    "output",
)
_OF_A_CLUSTER: Final = ("size_name", "seed", "trace_nodes", "trace_pods")
_INSTRUMENTS: Final = ("pyinstrument", "memray")


def _parse_group(
    context: click.Context, parameter: click.Parameter, text: Optional[str]
) -> Optional[ScalingGroupName]:
    return None if text is None else parse_group_name(context, parameter, text)


_cluster_options = partial(
    cluster_options,
    turns_help="Turns under the clock; each other instrument has a few of its own.",
    turns=DEFAULT_TURNS,
)


@click.command(short_help="Profile a suite: where its time and memory go, as a folder of pages.")
@click.argument("suite_name", metavar="[SUITE]", required=False)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder to make; the one of an earlier profile is replaced.",
)
@click.option(
    "--compare",
    nargs=2,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER FOLDER",
    help="Take no profile, and compare two that were kept, phase by phase.",
)
@click.option("--case", metavar="NAME", help="Profile one case of the suite only, such as 'full read'.")
@_cluster_options
@trace_options
@click.option(
    DATABASE_URL_OPTION,
    metavar="URL",
    help="Your database with this package's schema, as it is: postgresql://user@host:port/database. It is only "
    f"read, so this is for {' and '.join(OWN_DATABASE_SUITES)}.",
)
@click.option(
    "--group",
    callback=_parse_group,
    metavar="NAME",
    help="The scaling group to read in --database-url. [default: the one with the longest queue]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; all else goes to stderr.")
@click.pass_context
def profile(
    context: click.Context,
    suite_name: Optional[str],
    output: Optional[Path],
    compare: Optional[tuple[Path, Path]],
    case: Optional[str],
    size_name: str,
    turns: Optional[int],
    seed: Optional[int],
    trace_nodes: Optional[Path],
    trace_pods: Optional[Path],
    database_url: Optional[str],
    group: Optional[ScalingGroupName],
    as_json: bool,
) -> None:
    """Profile the engine's side of SUITE, and say in ten lines what dominates.

    FOLDER gets pages for any browser, without a server and without a network: a table of phases with the
    server's part of each, the plan of each statement as it was sent, graphs of time and of memory by function,
    and the longest blocks of the event loop. Ctrl-C, or any error, leaves FOLDER as it was.
    """
    invocation = context.find_object(Invocation) or Invocation()
    given = {
        name
        for name in _OF_A_PROFILE
        if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
    }
    if compare is not None:
        if suite_name is not None or given:
            raise click.UsageError(
                "--compare takes two folders and nothing else; leave the suite and its options out."
            )
        from bench.cli.profile_tables import show_comparison

        show_comparison(*compare, as_json=as_json)
        return
    suite = _find_suite(suite_name)
    if output is None:
        raise click.UsageError("Missing option '--output': the folder that the profile goes to.")
    trace = read_trace_options([suite.name], trace_nodes, trace_pods)
    database = read_database(database_url, beside_other_data=False)
    if database is None and group is not None:
        raise click.UsageError(f"--group is for your own database; give {DATABASE_URL_OPTION} too.")
    if database is not None:
        if suite.name not in OWN_DATABASE_SUITES:
            raise click.UsageError(
                f"Suite {suite.name} writes, and {DATABASE_URL_OPTION} is only read; profile "
                f"{' or '.join(OWN_DATABASE_SUITES)} there, or leave it out."
            )
        if given.intersection(_OF_A_CLUSTER):
            raise click.UsageError(
                f"{SIZE_OPTION}, --seed and --trace-... are of a cluster that is loaded; with "
                f"{DATABASE_URL_OPTION} yours is read as it is."
            )
    elif case is not None and case not in (names := suite.case_names(SizeName(size_name))):
        raise click.UsageError(
            f"Suite {suite.name} has no case {case!r}; it has {', '.join(map(repr, names))}."
        )
    _require_instruments()
    from bench.cli.profile_run import ProfileRun

    ProfileRun(
        invocation=invocation,
        suite=suite,
        size_name=SizeName(size_name),
        turns=DEFAULT_TURNS if turns is None else turns,
        seed=DEFAULT_SEED if seed is None else seed,
        trace=trace,
        database=database,
        group=group,
        case=case,
        as_json=as_json,
        output=output,
    ).execute()


def _find_suite(name: Optional[str]) -> "Suite":
    usable = ", ".join(suite.name for suite in SUITES.values() if suite.not_profiled is None)
    if name is None:
        raise click.UsageError(f"Missing argument 'SUITE': one of {usable}; or give --compare.")
    suite = SUITES.get(name)
    if suite is None:
        raise click.UsageError(f"There is no suite {name!r} to profile; there are {usable}.")
    if suite.not_profiled is not None:
        raise click.UsageError(f"Suite {name} is not profiled: {suite.not_profiled}.")
    return suite


def _require_instruments() -> None:
    """Raise MissingDependency without the extra ``profile``, before anything is measured."""
    for name in _INSTRUMENTS:
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"{name} is not installed; pip install 'scheduler-repo[profile]'"
            ) from error
