"""Options that several commands share: of what size a cluster is, and on whose server it lies."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional, TypeVar

import click

from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SIZES, SizeName
from bench.suites.registry import SUITES
from scheduler_repo.cli.options import DATABASE_URL_OPTION, FilePath, WholeNumber, whole_number_option
from scheduler_repo.cli.process.secret_arguments import URL_OPTIONS, came_as_option

if TYPE_CHECKING:
    from bench.data.trace import TraceFiles
    from scheduler_repo.settings import DatabaseSettings

CommandT = TypeVar("CommandT", bound=Callable[..., object])

SIZE_OPTION: Final = "--size"
_MAX_TURNS: Final = 10_000
_SIZE_HELP: Final = "; ".join(
    f"{name}: {size.agents:,} agents, {size.running:,} running, {size.pending:,} pending, "
    f"{size.finished:,} finished"
    for name, size in SIZES.items()
)


def cluster_options(
    command: CommandT,
    turns_help: str = "Turns of each side, instead of the suite's own.",
    turns: Optional[int] = None,
) -> CommandT:
    """Add ``--size``, ``--turns`` and ``--seed``; ``turns`` are those that help shows as the default."""
    seed_help = "The same seed makes the same cluster."
    command = whole_number_option("--seed", WholeNumber(), seed_help, DEFAULT_SEED)(command)
    command = whole_number_option("--turns", WholeNumber(1, _MAX_TURNS), turns_help, turns)(command)
    return click.option(
        SIZE_OPTION,
        "size_name",
        type=click.Choice([size.value for size in SizeName]),
        default=SizeName.S.value,
        show_default=True,
        help=f"The size of the cluster. {_SIZE_HELP}.",
    )(command)


def trace_options(command: CommandT) -> CommandT:
    """Add ``--trace-nodes`` and ``--trace-pods``."""
    pods_help = "CSV of tasks; with --trace-nodes."
    nodes_help = "CSV of nodes, instead of a synthetic cluster; with --trace-pods."
    command = click.option("--trace-pods", type=FilePath(), metavar="FILE", help=pods_help)(command)
    return click.option("--trace-nodes", type=FilePath(), metavar="FILE", help=nodes_help)(command)


def read_trace_options(names: list[str], nodes: Optional[Path], pods: Optional[Path]) -> "Optional[TraceFiles]":
    """Return the trace's files, if they are given; raises UsageError for suites that take none."""
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


def database_options(command: CommandT) -> CommandT:
    """Add ``--database-url`` and ``--beside-other-data``."""
    beside_help = f"Use a {DATABASE_URL_OPTION} that holds other data too."
    command = click.option("--beside-other-data", is_flag=True, help=beside_help)(command)
    return click.option(
        DATABASE_URL_OPTION,
        metavar="URL",
        help="Your PostgreSQL, instead of an embedded one: postgresql://user@host:port/database. Everything "
        "goes into a schema of a new name, which is dropped at the end.",
    )(command)


def read_database(database_url: Optional[str], *, beside_other_data: bool) -> "Optional[DatabaseSettings]":
    """Read where the user's database is, if one was given; raises UsageError.

    The environment's is not taken unasked: clusters are loaded there.
    """
    from scheduler_repo.cli.options import read_settings
    from scheduler_repo.settings import Settings

    settings: Settings = read_settings(database_url, None)
    if database_url is None and not came_as_option(DATABASE_URL_OPTION):
        if beside_other_data:
            raise click.UsageError(
                f"--beside-other-data is for your own database; give {DATABASE_URL_OPTION} too."
            )
        return None
    if settings.database is None:
        raise click.UsageError(f"{URL_OPTIONS[DATABASE_URL_OPTION]} is empty; give a URL.")
    return settings.database
