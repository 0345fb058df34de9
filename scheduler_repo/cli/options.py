"""Options and kinds of values that several commands share."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Optional, TypeVar, Union
from urllib.parse import unquote

import click

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.quoting import quoted
from scheduler_repo.secret_urls import holds_secret_option
from scheduler_repo.types import ScalingGroupName

if TYPE_CHECKING:
    from scheduler_repo.metrics.endpoint import Probe
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
            self.fail(f"{quoted(value)} is not a whole number", param, ctx)
        return int(super().convert(number, param, ctx))

    def _describe_range(self) -> str:
        # click shows this behind the option; its own words for no bounds would be "x<=None".
        return "any" if self.max is None else f"{self.min} to {self.max}"


class SecondsBetween(click.ParamType[float]):
    """A number of seconds within bounds."""

    name = "seconds"

    def __init__(self, least: float, most: float) -> None:
        self._least = least
        self._most = most

    def convert(self, value: object, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> float:
        """Return the number; raises BadParameter."""
        try:
            seconds = float(str(value))
        except ValueError:
            seconds = math.nan
        if not self._least <= seconds <= self._most:
            wanted = f"give {self._least:g} to {self._most:g}"
            self.fail(f"{quoted(value)} is not a number of seconds that can be used here; {wanted}", param, ctx)
        return seconds


class FilePath(click.Path):
    """The path of a file; a URL is refused without repeating it, before a path is made of it."""

    def __init__(self, *, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(
        self,
        value: "Union[str, os.PathLike[str]]",
        param: Optional[click.Parameter],
        ctx: Optional[click.Context],
    ) -> "Union[str, bytes, os.PathLike[str]]":
        """Return the path; raises BadParameter."""
        refuse_url(os.fspath(value), "the path of a file")
        return super().convert(value, param, ctx)


def refuse_url(text: str, wanted: str) -> None:
    """Raise BadParameter for a URL where something else is wanted; does not repeat what may hold a password."""
    if "://" in unquote(text):
        raise click.BadParameter(f"this is a URL; give {wanted}")
    if holds_secret_option(text):
        raise click.BadParameter(f"this may hold a password; give {wanted}")


def parse_host(context: click.Context, parameter: click.Parameter, text: Optional[str]) -> Optional[str]:
    """Return the name or address of a host; raises BadParameter."""
    if text is not None:
        refuse_url(text, "the name or address of a host")
    return text


def whole_number_option(
    name: str, numbers: WholeNumber, text: str, default: Optional[int] = None
) -> Callable[[CommandT], CommandT]:
    """Make an option that takes one of ``numbers``; help shows ``default``, which is left to the command."""
    shown = "" if default is None else f" [default: {default}]"
    return click.option(name, type=numbers, metavar="N", help=f"{text}{shown}")


def parse_group_name(context: click.Context, parameter: click.Parameter, text: str) -> ScalingGroupName:
    """Return the name of a scaling group; raises BadParameter."""
    return ScalingGroupName(parse_name(text, "the name of a scaling group"))


def parse_name(text: str, wanted: str) -> str:
    """Return a name; refuses a URL without repeating it, as it may hold a password."""
    refuse_url(text, wanted)
    if not text.strip() or not text.isprintable() or len(text) > _MAX_NAME_LENGTH:
        raise click.BadParameter(f"a name has 1 to {_MAX_NAME_LENGTH} printable characters")
    return text


def parse_seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """Return a finite number of seconds, 0 or more; raises BadParameter."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f"{quoted(text)} is not a number of seconds; give 0 or more")
    return seconds


def read_settings(database_url: Optional[str], redis_url: Optional[str]) -> "Settings":
    """Read the settings from the options and the environment.

    Raises InvalidSettings, and UsageError for a URL that cannot be read.
    """
    from scheduler_repo.settings import load_settings

    if "" in (database_url, redis_url):
        raise click.UsageError("the URL given is empty; give one, or leave the option out")
    settings = load_settings(database_url=database_url, redis_url=redis_url)
    try:
        if settings.database is not None:
            settings.database.sqlalchemy_url()
        if settings.cache is not None:
            from scheduler_repo.cache.client import create_redis

            create_redis(settings.cache)
    except InvalidSettings as error:
        raise click.UsageError(str(error)) from error
    return settings


def read_database(database_url: Optional[str]) -> "DatabaseSettings":
    """Read the settings of a database that there must be; raises InvalidSettings and UsageError."""
    return require_database(read_settings(database_url, None))


def require_database(settings: "Settings", *, keeps_logs_short: bool = False) -> "DatabaseSettings":
    """Return the settings of the database; raises UsageError if none is named.

    Who looks at a database with a command does not expect it to fold logs.
    """
    if settings.database is None:
        raise click.UsageError("Missing a database: give --database-url or set SCHEDULER_REPO_DATABASE_URL.")
    import msgspec

    return msgspec.structs.replace(settings.database, keeps_logs_short=keeps_logs_short)


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
    command = click.option("--metrics-host", metavar="HOST", callback=parse_host, help=host_help)(command)
    return whole_number_option("--metrics-port", WholeNumber(0, 65535), port_help)(command)


@contextmanager
def serve_metrics(
    port: Optional[int],
    host: Optional[str],
    say: Callable[[str], None],
    probes: "Optional[Mapping[str, Probe]]" = None,
) -> Iterator[None]:
    """Serve the metrics, and probes, while the block runs, if a port is given, and print their URL.

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
            url = stack.enter_context(metrics_endpoint(port, LOOPBACK if host is None else host, probes=probes))
        except InvalidSettings as error:
            raise click.UsageError(f"--metrics-port: {error}") from error
        say(f"metrics: {url}")
        yield
