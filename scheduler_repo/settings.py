"""Settings, from arguments or the environment, in frozen structs that never show a password."""

import contextlib
import getpass
import os
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, NoReturn, Optional, Self, SupportsIndex, TypeVar, Union
from urllib.parse import unquote

import msgspec
import sqlalchemy as sa

from scheduler_repo.errors import InvalidInput, InvalidSettings
from scheduler_repo.quoting import with_article
from scheduler_repo.secret_urls import HIDDEN, holds_secret_option, shown_url
from scheduler_repo.validation import Bound, PoolSize, check_fields, check_text, described, wrong_value

ENVIRONMENT_PREFIX = "SCHEDULER_REPO_"
_TEST_PREFIX = f"{ENVIRONMENT_PREFIX}TEST_"
_DRIVERNAME = "postgresql+asyncpg"
# The driver takes any other for an argument of its own, and fails without a word for the user.
_URL_OPTIONS = frozenset(
    {"host", "port", "user", "password", "ssl", "sslmode", "passfile", "target_session_attrs"}
)
# A host, and a port, for each of several servers.
_PLACES = ("host", "port")
_LOGIN_OPTIONS = ("user", "password")
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Checked here: the driver's own error would repeat the value.
_OPTION_WORDS = {
    "ssl": _SSL_MODES,
    "sslmode": _SSL_MODES,
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
_FORM = "write postgresql://user@host:port/database"


# Of letters and digits: what cannot be guessed.
_SHORTEST_KEY = 32


class _Secret:
    """A text that is shown in part or not at all, and not encoded or pickled, which would write it whole."""

    __slots__ = ("_value",)
    _value: str
    _text: ClassVar[str]
    _holds: ClassVar[str]

    def __init__(self, value: str) -> None:
        if not isinstance(value, str):
            raise InvalidSettings(f"{self._text} is a text, this is {with_article(type(value))}; give a str")
        object.__setattr__(self, "_value", value)

    def reveal(self) -> str:
        """Return the whole text, for what needs it alone."""
        return self._value

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            f"{with_article(type(self))} cannot be changed; make another ({name} was to be set)"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise InvalidInput(
            f"{with_article(type(self))} is not pickled, as its {self._holds} would be written; "
            "pickle its reveal()"
        )

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class SecretUrl(_Secret):
    """A URL that may hold a password; printing it shows where it leads, never the password.

    What is in doubt is hidden too. It is not encoded or pickled, which would write the password: hand on what
    ``reveal`` returns. Equal URLs are equal.
    """

    __slots__ = ()
    _text = "a URL"
    _holds = "password"

    def __str__(self) -> str:
        return shown_url(self._value)


class SecretKey(_Secret):
    """A key that signs; printing it shows nothing of it. It is not encoded or pickled."""

    __slots__ = ()
    _text = "a key"
    _holds = "key"

    def __str__(self) -> str:
        return "(hidden)"


def refuse_unescaped(url: SecretUrl) -> None:
    """Raise InvalidSettings for a URL of which parts could be read as others, unless some marks are escaped.

    Part of a password would be taken for a user, a host or a database, and be shown in the server's errors.
    """
    before, _, after = url.reveal().partition("://")[2].rpartition("@")
    if any(mark in before for mark in "@/?#"):
        raise InvalidSettings(
            f"{url}: one of @ / ? # stands before the last @; in a user or password write %40 %2F %3F %23"
        )
    if any(mark in after.partition("?")[0] for mark in "&;=#"):
        raise InvalidSettings(
            f"{url}: one of & ; = # stands in the host or the database's name; write %26 %3B %3D %23, and ? "
            "before the first option"
        )
    if ":" in unquote(before.partition(":")[0]):
        raise InvalidSettings(f"{url}: the user holds an escaped colon; write user:password with a plain one")


Pooler = Literal["session", "transaction"]
_Name = Annotated[str, msgspec.Meta(description="a text")]
_Flag = Annotated[bool, msgspec.Meta(description="true or false")]
_Pooler = Annotated[Optional[Pooler], msgspec.Meta(description="session or transaction, or None for none")]


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach PostgreSQL and how long to wait for it; all times in seconds.

    ``resolve_timeout`` bounds how long a write whose COMMIT was lost is asked after; longer than
    ``idle_in_transaction_timeout``, after which the server ends what a lost client left open.
    ``connection_lifetime`` is the longest age of a connection that is taken from the pool; after a fail-over
    behind one address, reads from a former primary end with it.
    ``pooler`` says for how long a connection pooler before the server, such as PgBouncer, keeps a server
    connection for one client; None is a server without one, which is checked when a connection is made.
    With ``keeps_logs_short``, whoever finds the logs of changes long has them folded and trimmed beside its
    own work; False leaves that to other processes.
    """

    url: SecretUrl
    pool_size: PoolSize = 5
    pool_timeout: Bound = 5.0
    connect_timeout: Bound = 5.0
    statement_timeout: Bound = 60.0
    lock_timeout: Bound = 5.0
    batch_lock_timeout: Bound = 1.0
    idle_in_transaction_timeout: Bound = 10.0
    resolve_timeout: Bound = 30.0
    connection_lifetime: Bound = 300.0
    application_name: _Name = "scheduler-repo"
    pooler: _Pooler = None
    keeps_logs_short: _Flag = True

    def __post_init__(self) -> None:
        _check(self)
        # Every role of the server can read it.
        if "://" in unquote(self.application_name) or holds_secret_option(self.application_name):
            raise InvalidSettings(
                "DatabaseSettings.application_name is a URL or holds a password; give a short name"
            )
        check_text(self.application_name, "DatabaseSettings.application_name", InvalidSettings)

    def sqlalchemy_url(self) -> sa.URL:
        """Return the URL for SQLAlchemy with the asyncpg driver.

        Raises InvalidSettings if it is none, or names no user where the process has no user's name either.
        """
        refuse_unescaped(self.url)
        url: Optional[sa.URL] = None
        with contextlib.suppress(sa.exc.ArgumentError, ValueError):
            url = sa.make_url(self.url.reveal())
        # Outside of any handler: the other error may hold a part of the password, and would be the context.
        if url is None:
            raise InvalidSettings(f"the database URL cannot be read: {self.url}; {_FORM}")
        if url.drivername not in ("postgresql", "postgres", _DRIVERNAME):
            scheme = f"{self.url}".partition("://")[0]
            raise InvalidSettings(f"the database must be PostgreSQL, the URL says {scheme}; {_FORM}")
        if url.port is not None and not 0 < url.port < 2**16:
            raise InvalidSettings(f"the database URL has the port {url.port}; ports are 1 to 65535")
        self._check_options(url.query)
        query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
        # Where SQLAlchemy hides a password.
        user, password = (query.pop(name, None) for name in _LOGIN_OPTIONS)
        username = user if isinstance(user, str) else url.username
        if username is None:
            _require_process_user()
        return url.set(
            drivername=_DRIVERNAME,
            username=username,
            password=password if isinstance(password, str) else url.password,
            query=query,
        )

    def _check_options(self, options: Mapping[str, Union[str, tuple[str, ...]]]) -> None:
        """Raise InvalidSettings for an option that the driver does not know; its value is never shown."""
        unknown = sorted(options.keys() - _URL_OPTIONS)
        if unknown:
            name = unknown[0] if unknown[0].isidentifier() and HIDDEN not in f"{self.url}" else HIDDEN
            raise InvalidSettings(
                f"the database URL has the option {name}, which the driver does not know; "
                f"leave it out ({', '.join(sorted(_URL_OPTIONS))} are known)"
            )
        for name, value in options.items():
            if not isinstance(value, str) and name not in _PLACES:
                raise InvalidSettings(f"the database URL has the option {name} twice; leave one out")
            words = _OPTION_WORDS.get(name)
            if words is not None and value not in words:
                raise InvalidSettings(
                    f"the database URL cannot be used: `{name}` parameter must be one of {', '.join(words)}"
                )
        if self.pooler == "transaction" and "target_session_attrs" in options:
            raise InvalidSettings(
                "the database URL has target_session_attrs, which cannot be asked for through a pooler in "
                "transaction mode; leave it out, and have the pooler connect to the primary"
            )


class CacheSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis or Valkey; times in seconds.

    The first of ``signing_keys`` signs what is stored there, and what any of them signed is believed: put a new
    key last in every process, then first, then leave the old one out. Without keys whoever writes to the server
    can forge answers.
    """

    url: SecretUrl
    timeout: Bound = 0.15
    lifetime: Bound = 60.0
    signing_keys: tuple[SecretKey, ...] = ()

    def __post_init__(self) -> None:
        _check(self)
        _check_keys(self.signing_keys, "CacheSettings.signing_keys")


def _require_process_user() -> None:
    """Raise InvalidSettings if the driver cannot find a user's name, as of a container's arbitrary user id."""
    with contextlib.suppress(KeyError, OSError, ImportError):
        if os.environ.get("PGUSER") or getpass.getuser():
            return
    raise InvalidSettings(
        f"the database URL names no user, and the user that this process runs as has no name; {_FORM}"
    )


def _check(settings: "SectionT") -> None:
    """Raise InvalidSettings for a field that is not what it must be; a plain URL is not shown."""
    url: object = settings.url
    if not isinstance(url, SecretUrl):
        raise InvalidSettings(f"{type(settings).__name__}.url: wrap the URL, SecretUrl(...)")
    check_fields(settings, InvalidSettings)


def _check_keys(keys: object, subject: str) -> None:
    """Raise InvalidSettings for what are no keys, or short ones; shows nothing of them."""
    if not isinstance(keys, tuple) or not all(isinstance(key, SecretKey) for key in keys):
        raise InvalidSettings(f"{subject}: give a tuple of keys, each wrapped, (SecretKey(...),)")
    for number, key in enumerate(keys, 1):
        if not key.reveal().isascii() or len(key.reveal()) < _SHORTEST_KEY:
            raise InvalidSettings(
                f"{subject}: key {number} of {len(keys)} is not {_SHORTEST_KEY} ASCII characters or more; make "
                "one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )


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
    with REDIS before (``SCHEDULER_REPO_REDIS_TIMEOUT``); several signing keys have commas between them.
    ``environment`` is the process's own unless given. An argument goes before its variable. Raises
    InvalidSettings, which names the variable, for a value that is not of the field's type, and for a variable
    with the prefix that is no setting.
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
            if field.name == "signing_keys":
                keys = tuple(SecretKey(key.strip()) for key in given.pop(name).split(","))
                _check_keys(keys, f"{ENVIRONMENT_PREFIX}{name}")
                values[field.name] = keys
                continue
            value = given.pop(name)
            with contextlib.suppress(msgspec.ValidationError):
                values[field.name] = msgspec.convert(value, field.type, strict=False)
            # Outside of that error, which repeats the value: it may be a URL that belongs elsewhere.
            if field.name not in values:
                raise wrong_value(value, f"{ENVIRONMENT_PREFIX}{name}", described(field.type), InvalidSettings)
    url = url or url_given
    return msgspec.structs.replace(kind(url=SecretUrl(url)), **values) if url else None
