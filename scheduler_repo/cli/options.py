"""Options and kinds of values that several commands take."""

import math
from typing import TYPE_CHECKING, Final, Optional

import click

from scheduler_repo.cli.process.invocation import Invocation
from scheduler_repo.types import ScalingGroupName

if TYPE_CHECKING:
    from scheduler_repo.settings import DatabaseSettings, Settings


DATABASE_URL_OPTION: Final = "--database-url"
_MAX_NAME_LENGTH: Final = 255


def checked_group_name(context: click.Context, parameter: click.Parameter, text: str) -> ScalingGroupName:
    """Take the name of a scaling group; a URL given in its place would be shown by every later error."""
    if "://" in text:
        raise click.BadParameter("this is a URL; give the name of a scaling group")
    if not text.strip() or not text.isprintable() or len(text) > _MAX_NAME_LENGTH:
        raise click.BadParameter(f"a name has 1 to {_MAX_NAME_LENGTH} printable characters")
    return ScalingGroupName(text)


def checked_seconds(context: click.Context, parameter: click.Parameter, text: str) -> float:
    """Take a number of seconds, finite, 0 or more."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise click.BadParameter(f"{text!r} is no number of seconds; give 0 or more")
    return seconds


def _set_debug(context: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    invocation = context.find_object(Invocation)
    if wanted and invocation is not None:
        invocation.debug = True


class WholeNumber(click.IntRange):
    """A whole number within bounds, refused in words that a person would use."""

    name = "whole number"

    def convert(self, value: object, param: Optional[click.Parameter], ctx: Optional[click.Context]) -> int:
        """Return the number; raises BadParameter."""
        try:
            number = int(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a whole number", param, ctx)
        return int(super().convert(number, param, ctx))

    def _describe_range(self) -> str:
        # What click shows behind the option; for one without bounds it would be "x<=None".
        if self.min is None and self.max is None:
            return "any"
        if self.max is None:
            return f"{self.min} or more"
        return f"{self.min} to {self.max}"


debug_option = click.option(
    "--debug",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_set_debug,
    help="Show the traceback of an error.",
)
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


def given_settings(database_url: Optional[str], redis_url: Optional[str]) -> "Settings":
    """Read the settings from the options and the environment; raises InvalidSettings."""
    # SQLAlchemy takes long to load, and --help needs none.
    from scheduler_repo.errors import InvalidSettings
    from scheduler_repo.settings import load_settings

    for url in (database_url, redis_url):
        if url == "":
            raise InvalidSettings("an empty URL was given; give one, or leave the option out")
    return load_settings(database_url=database_url, redis_url=redis_url)


def given_database(database_url: Optional[str]) -> "DatabaseSettings":
    """Read the settings of a database that there must be; raises InvalidSettings and UsageError."""
    database = given_settings(database_url, None).database
    if database is None:
        raise missing_database()
    return database


def missing_database() -> click.UsageError:
    """Make the error for a command that needs a database and got none."""
    return click.UsageError("Missing a database: give --database-url or set SCHEDULER_REPO_DATABASE_URL.")
