"""Options and kinds of values that several commands share."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Optional, TypeVar

import click

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.types import ScalingGroupName

if TYPE_CHECKING:
    from scheduler_repo.settings import DatabaseSettings, Settings

CommandT = TypeVar("CommandT", bound=Callable[..., object])

DATABASE_URL_OPTION: Final = "--database-url"
_MAX_NAME_LENGTH: Final = 255


class WholeNumber(click.IntRange):
    """A whole number within bounds; errors and help state the bounds in words."""

    name = "whole number"

    def convert(self, value: object, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        """Return the number; raises BadParameter."""
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        return int(super().convert(number, param, ctx))

    def _describe_range(self) -> str:
        # click shows this behind the option; its own words for no bounds would be "x<=None".
        return "any" if self.max is None else f"{self.min} to {self.max}"


def whole_number_option(
    name: str, numbers: WholeNumber, text: str, default: Optional[int] = None
) -> Callable[[CommandT], CommandT]:
    """Make an option that takes one of ``numbers``; help shows ``default``, which is left to the command."""
    shown = "" if default is None else f" [default: {default}]"
    return click.option(name, type=numbers, metavar="N", help=f"{text}{shown}")


def parse_group_name(context: click.Context, parameter: click.Parameter, text: str) -> ScalingGroupName:
    """Return the name of a scaling group; refuses a URL without repeating it, as it may hold a password."""
    if "://" in text:
        raise click.BadParameter("this is a URL; give the name of a scaling group")
    if not text.strip() or not text.isprintable() or len(text) > _MAX_NAME_LENGTH:
        raise click.BadParameter(f"a name has 1 to {_MAX_NAME_LENGTH} printable characters")
    return ScalingGroupName(text)


def parse_seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """Return a finite number of seconds, 0 or more; raises BadParameter."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f"{text!r} is not a number of seconds; give 0 or more")
    return seconds


def read_settings(database_url: Optional[str], redis_url: Optional[str]) -> "Settings":
    """Read the settings from the options and the environment; raises InvalidSettings."""
    from scheduler_repo.settings import load_settings

    if "" in (database_url, redis_url):
        raise InvalidSettings("the URL given is empty; give one, or leave the option out")
    return load_settings(database_url=database_url, redis_url=redis_url)


def read_database(database_url: Optional[str]) -> "DatabaseSettings":
    """Read the settings of a database that there must be; raises InvalidSettings and UsageError."""
    return require_database(read_settings(database_url, None))


def require_database(settings: "Settings") -> "DatabaseSettings":
    """Return the settings of the database; raises UsageError if none is named."""
    if settings.database is None:
        raise click.UsageError("Missing a database: give --database-url or set SCHEDULER_REPO_DATABASE_URL.")
    return settings.database


database_url_option = click.option(
    DATABASE_URL_OPTION,
    metavar="URL",
    help="Your PostgreSQL: postgresql://user@host:port/database. [env: SCHEDULER_REPO_DATABASE_URL]",
)
redis_url_option = click.option(
    "--redis-url",
    metavar="URL",
    help="Your Redis or Valkey: redis://host:port/0. [env: SCHEDULER_REPO_REDIS_URL]",
)


def metrics_options(command: CommandT) -> CommandT:
    """Add ``--metrics-port`` and ``--metrics-host`` to a command that runs for a while."""
    host_help = "The address for --metrics-port. [default: 127.0.0.1]"
    port_help = "Serve Prometheus metrics on this port meanwhile; 0 picks a free one."
    command = click.option("--metrics-host", metavar="HOST", help=host_help)(command)
    return whole_number_option("--metrics-port", WholeNumber(0, 65535), port_help)(command)


@contextmanager
def serve_metrics(port: Optional[int], host: Optional[str], say: Callable[[str], None]) -> Iterator[None]:
    """Serve the metrics while the block runs, if a port is given, and print their URL.

    Raises UsageError for a port or host that cannot be listened on, and for a host without a port.
    """
    if port is None:
        if host is not None:
            raise click.UsageError("--metrics-host is the address for --metrics-port; give both.")
        yield
        return
    from scheduler_repo.metrics.endpoint import LOOPBACK, metrics_endpoint

    with ExitStack() as stack:
        try:
            url = stack.enter_context(metrics_endpoint(port, LOOPBACK if host is None else host))
        except InvalidSettings as error:
            raise click.UsageError(f"--metrics-port: {error}") from error
        say(f"metrics: {url}")
        yield
