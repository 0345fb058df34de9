"""Settings, from arguments or the environment, in frozen structs that never show a password."""

import os
from collections.abc import Mapping
from typing import Annotated, Literal, Optional, TypeVar

import msgspec
import sqlalchemy as sa

from scheduler_repo.errors import InvalidSettings
from scheduler_repo.validation import Bound, PoolSize, check_fields, described, wrong_value

ENVIRONMENT_PREFIX = "SCHEDULER_REPO_"
_TEST_PREFIX = f"{ENVIRONMENT_PREFIX}TEST_"
_DRIVERNAME = "postgresql+asyncpg"
# The driver takes any other for an argument of its own, and fails without a word for the user.
_URL_OPTIONS = frozenset(
    {"host", "port", "user", "password", "ssl", "sslmode", "passfile", "target_session_attrs"}
)


class SecretUrl(msgspec.Struct, frozen=True):
    """A URL that may hold a password; printing it shows where it leads, never the password.

    Encoding it (msgspec, pickle) writes it whole.
    """

    _value: str

    def reveal(self) -> str:
        """Return the whole URL, for the driver alone."""
        return self._value

    def __repr__(self) -> str:
        return f"SecretUrl({str(self)!r})"

    def __str__(self) -> str:
        scheme, separator, rest = self._value.partition("://")
        if not separator:
            return "(not a URL)"
        userinfo, at, place = rest.rpartition("@")
        user = userinfo.partition(":")[0]
        # Options behind the question mark can hold a password too; only the place is shown.
        return f"{scheme}://{user}{at}{place.partition('?')[0]}"


Pooler = Literal["session", "transaction"]
_Name = Annotated[str, msgspec.Meta(description="a text")]
_Pooler = Annotated[Optional[Pooler], msgspec.Meta(description="session or transaction, or None for none")]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach PostgreSQL and how long to wait for it; all times in seconds.

    ``resolve_timeout`` bounds how long a write whose COMMIT was lost is asked after; longer than
    ``idle_in_transaction_timeout``, after which the server ends what a lost client left open.
    ``connection_lifetime`` is the longest age of a connection that is taken from the pool; after a fail-over
    behind one address, reads from a former primary end with it.
    ``pooler`` says for how long a connection pooler before the server, such as PgBouncer, keeps a server
    connection for one client; None is a server without one, which is checked when a connection is made.
    """

    url: SecretUrl
    pool_size: PoolSize = 5
    pool_timeout: Bound = 5.0
    connect_timeout: Bound = 5.0
    statement_timeout: Bound = 60.0
    lock_timeout: Bound = 5.0
    idle_in_transaction_timeout: Bound = 10.0
    resolve_timeout: Bound = 30.0
    connection_lifetime: Bound = 300.0
    application_name: _Name = "scheduler-repo"
    pooler: _Pooler = None

    def __post_init__(self) -> None:
        _check(self)

    def sqlalchemy_url(self) -> sa.URL:
        """Return the URL for SQLAlchemy with the asyncpg driver; raises InvalidSettings if it is none."""
        try:
            url = sa.make_url(self.url.reveal())
        except (sa.exc.ArgumentError, ValueError):
            raise InvalidSettings(
                f"the database URL cannot be read: {self.url}; write postgresql://user@host:port/database"
            ) from None
        if url.drivername not in ("postgresql", "postgres", _DRIVERNAME):
            raise InvalidSettings(
                f"the database must be PostgreSQL, the URL says {url.drivername}; "
                "write postgresql://user@host:port/database"
            )
        unknown = sorted(url.query.keys() - _URL_OPTIONS)
        if unknown:
            raise InvalidSettings(
                f"the database URL has the option {unknown[0]}, which the driver does not know; "
                f"leave it out ({', '.join(sorted(_URL_OPTIONS))} are known)"
            )
        if self.pooler == "transaction" and "target_session_attrs" in url.query:
            raise InvalidSettings(
                "the database URL has target_session_attrs, which cannot be asked for through a pooler in "
                "transaction mode; leave it out, and have the pooler connect to the primary"
            )
        query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
        return url.set(drivername=_DRIVERNAME, query=query)


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis or Valkey; times in seconds."""

    url: SecretUrl
    timeout: Bound = 0.15
    lifetime: Bound = 60.0

    def __post_init__(self) -> None:
        _check(self)


def _check(settings: "SectionT") -> None:
    """Raise InvalidSettings for a field that is not what it must be; a plain URL is not shown."""
    url: object = settings.url
    if not isinstance(url, SecretUrl):
        raise InvalidSettings(f"{type(settings).__name__}.url: wrap the URL, SecretUrl(...)")
    check_fields(settings, InvalidSettings)


SectionT = TypeVar("SectionT", DatabaseSettings, CacheSettings)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of the command line, or of a host process; None: that server is not used."""

    database: Optional[DatabaseSettings] = None
    cache: Optional[CacheSettings] = None


def load_settings(
    environment: Optional[Mapping[str, str]] = None,
    database_url: Optional[str] = None,
    redis_url: Optional[str] = None,
) -> Settings:
    """Read ``SCHEDULER_REPO_DATABASE_URL``, ``SCHEDULER_REPO_REDIS_URL`` and one variable per other field.

    The fields of DatabaseSettings are called as they are (``SCHEDULER_REPO_POOL_SIZE``), those of CacheSettings
    with REDIS before (``SCHEDULER_REPO_REDIS_TIMEOUT``). ``environment`` is the process's own unless given. An
    argument goes before its variable. Raises InvalidSettings, which names the variable, for a value that is not
    of the field's type, and for a variable with the prefix that is no setting.
    """
    given = {
        name.removeprefix(ENVIRONMENT_PREFIX): value
        for name, value in (os.environ if environment is None else environment).items()
        if name.startswith(ENVIRONMENT_PREFIX) and not name.startswith(_TEST_PREFIX)
    }
    database = _section(DatabaseSettings, given, "DATABASE_URL", "", database_url)
    cache = _section(CacheSettings, given, "REDIS_URL", "REDIS_", redis_url)
    if given:
        raise InvalidSettings(
            f"{ENVIRONMENT_PREFIX}{min(given)} is set but is no setting; correct its name or unset it"
        )
    return Settings(database=database, cache=cache)


def _section(
    kind: type[SectionT], given: dict[str, str], url_name: str, prefix: str, url: Optional[str]
) -> Optional[SectionT]:
    """Build one struct from its variables, and remove them from ``given``; None if there is no URL for it."""
    url_given = given.pop(url_name, None)
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(kind):
        name = f"{prefix}{field.name.upper()}"
        if field.name != "url" and name in given:
            try:
                values[field.name] = msgspec.convert(given[name], field.type, strict=False)
            except msgspec.ValidationError:
                expected = described(field.type)
                raise wrong_value(
                    given[name], f"{ENVIRONMENT_PREFIX}{name}", expected, InvalidSettings
                ) from None
            del given[name]
    url = url or url_given
    return msgspec.structs.replace(kind(url=SecretUrl(url)), **values) if url else None
