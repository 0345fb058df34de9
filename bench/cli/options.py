"""Options that several commands share: of what size a cluster is, and on whose server it lies."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Optional, TypeVar

import click

from bench.data.cluster import DEFAULT_SEED
from bench.data.sizes import SIZES, SizeName
from scheduler_repo.cli.options import DATABASE_URL_OPTION, WholeNumber, whole_number_option
from scheduler_repo.cli.process.secret_arguments import URL_OPTIONS, came_as_option

if TYPE_CHECKING:
    from scheduler_repo.settings import DatabaseSettings

CommandT = TypeVar("CommandT", bound=Callable[..., object])

_MAX_TURNS: Final = 10_000
_SIZE_HELP: Final = "; ".join(
    f"{name}: {size.agents:,} agents, {size.running:,} running, {size.pending:,} pending, "
    f"{size.finished:,} finished"
    for name, size in SIZES.items()
)


def cluster_options(command: CommandT) -> CommandT:
    """Add ``--size``, ``--turns`` and ``--seed``."""
    seed_help = "The same seed makes the same cluster."
    turns_help = "Turns of each side, instead of the suite's own."
    command = whole_number_option("--seed", WholeNumber(), seed_help, DEFAULT_SEED)(command)
    command = whole_number_option("--turns", WholeNumber(1, _MAX_TURNS), turns_help)(command)
    return click.option(
        "--size",
        "size_name",
        type=click.Choice([size.value for size in SizeName]),
        default=SizeName.S.value,
        show_default=True,
        help=f"The size of the cluster. {_SIZE_HELP}.",
    )(command)


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
