"""Connections to the servers that the settings name, refused in words that say where."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Optional

import asyncpg
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.errors import translate_error
from scheduler_repo.database.schema.version import require_schema
from scheduler_repo.errors import (
    CacheUnavailable,
    DatabaseError,
    DatabaseReadOnly,
    DatabaseTimeout,
    DatabaseUnavailable,
    InvalidSettings,
)
from scheduler_repo.repositories.scheduler.cache_source import (
    SchedulerCacheSource,
    create_cache_source,
    create_redis,
)
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl

if TYPE_CHECKING:
    from redis.asyncio import Redis


@asynccontextmanager
async def open_engine(settings: DatabaseSettings) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """Make an engine, and dispose of it at the end; raises InvalidSettings for a URL that is none."""
    _refuse_unescaped(settings.url)
    engine = create_engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def connect(engine: ExtendedAsyncSAEngine, settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    """Connect outside the engine's own sessions; errors of the database layer name the database."""
    place = place_of(settings)
    try:
        async with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise type(error)(f"{place}: {error}") from error
    except Exception as error:
        known = translate_error(error)
        if known is None:
            raise
        is_no_answer = isinstance(known, (DatabaseUnavailable, DatabaseTimeout)) and not _is_of_server(error)
        advice = "; see that a PostgreSQL server listens there" if is_no_answer else ""
        raise type(known)(f"{place}: {known}{advice}") from error


def place_of(settings: DatabaseSettings) -> str:
    """Say where the database is, without the password and options that may hold one.

    Raises InvalidSettings for a URL that is none.
    """
    _refuse_unescaped(settings.url)
    url = settings.sqlalchemy_url()
    hosts = [f"{name}={url.query[name]}" for name in ("host", "port") if name in url.query]
    return f"{settings.url}{'?' if hosts else ''}{'&'.join(hosts)}"


def _is_of_server(error: BaseException) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    return isinstance(error, asyncpg.PostgresError)


async def require_usable_database(
    engine: ExtendedAsyncSAEngine, settings: DatabaseSettings, *, to_write: bool
) -> None:
    """Raise SchemaMismatch unless the schema is the package's, DatabaseReadOnly if it cannot be written to."""
    async with connect(engine, settings) as connection:
        await require_schema(connection)
        read_only = (await connection.execute(sa.text("SHOW transaction_read_only"))).scalar_one()
        if to_write and read_only == "on":
            raise DatabaseReadOnly(
                "the database only reads (it is a standby, or default_transaction_read_only is on); "
                "give one that can be written to"
            )


@asynccontextmanager
async def open_cache_source(
    settings: Optional[CacheSettings], db_source: SchedulerDBSource, *, must_answer: bool
) -> AsyncIterator[Optional[SchedulerCacheSource]]:
    """Make the cache source, if there are settings for one; what it is still storing is stored at the end.

    Raises InvalidSettings for a URL that is none and, if it ``must_answer``, CacheUnavailable.
    """
    if settings is None:
        yield None
        return
    await _require_usable_cache(settings, must_answer=must_answer)
    cache_source = create_cache_source(settings, db_source)
    with _warning_once(settings):
        try:
            yield cache_source
        finally:
            await cache_source.aclose()


async def _require_usable_cache(settings: CacheSettings, *, must_answer: bool) -> None:
    _refuse_unescaped(settings.url)
    try:
        client = create_redis(settings)
        # The options in the URL are looked at when a connection is made.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise InvalidSettings(
            f"the Redis URL cannot be read: {settings.url}; write redis://host:port/0, rediss:// or unix://path"
        ) from None
    try:
        if must_answer:
            await _require_answer(client, settings)
    finally:
        await client.aclose()


async def _require_answer(client: "Redis", settings: CacheSettings) -> None:
    try:
        async with asyncio.timeout(settings.timeout):
            await client.ping()
    except redis.exceptions.ResponseError as error:
        raise CacheUnavailable(f"{settings.url}: Redis refused: {error}; correct the URL") from error
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
        raise CacheUnavailable(
            f"{settings.url}: Redis cannot be reached ({reason}); correct the URL or leave it out"
        ) from error


@contextmanager
def _warning_once(settings: CacheSettings) -> Iterator[None]:
    """Let the first warning of the cache through, with the place that it is about; further ones add nothing."""
    warnings = _FirstWarning(str(settings.url))
    logger = logging.getLogger(SchedulerCacheSource.__module__)
    logger.addFilter(warnings)
    try:
        yield
    finally:
        logger.removeFilter(warnings)


class _FirstWarning(logging.Filter):
    def __init__(self, place: str) -> None:
        super().__init__()
        self._place = place
        self._has_passed = False

    def filter(self, record: logging.LogRecord) -> bool:
        if self._has_passed:
            return False
        self._has_passed = True
        record.msg, record.args = "%s: %s", (self._place, record.getMessage())
        return True


def _reason(error: BaseException) -> str:
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


def _refuse_unescaped(url: SecretUrl) -> None:
    # Such a password would be taken for a host or a database, and show up in errors.
    userinfo = url.reveal().partition("://")[2].rpartition("@")[0]
    if any(mark in userinfo for mark in "@/?#"):
        raise InvalidSettings(
            f"{url}: one of @ / ? # stands before the last @; in a user or password write %40 %2F %3F %23"
        )
