"""Connections to the servers that the settings name; errors say where the server is and what to do."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Optional

import asyncpg
import redis.exceptions
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.cache import read_through
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


@asynccontextmanager
async def open_database(settings: DatabaseSettings, *, to_write: bool) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """Open an engine on a database that has this package's schema; dispose of it at the end.

    Raises InvalidSettings for a bad URL, SchemaMismatch for another revision, and DatabaseReadOnly for a
    database that cannot be written to, if it is ``to_write``.
    """
    place = place_of(settings)
    engine = create_engine(settings)
    try:
        async with _connected(engine, place) as connection:
            await require_schema(connection)
            read_only = (await connection.execute(sa.text("SHOW transaction_read_only"))).scalar_one()
            if to_write and read_only == "on":
                raise DatabaseReadOnly(
                    "the database is read-only (a standby, or default_transaction_read_only is on); "
                    "give one that can be written to"
                )
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def connect(settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    """Connect to a database of any schema, outside the engine's sessions; errors name the database."""
    place = place_of(settings)
    engine = create_engine(settings)
    try:
        async with _connected(engine, place) as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def _connected(engine: ExtendedAsyncSAEngine, place: str) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.connect() as connection:
            yield connection
    except DatabaseError as error:
        raise type(error)(f"{place}: {error}") from error
    except Exception as error:
        known = translate_error(error)
        if known is None:
            raise
        no_answer = isinstance(known, (DatabaseUnavailable, DatabaseTimeout)) and not _came_from_server(error)
        advice = "; see that a PostgreSQL server listens there" if no_answer else ""
        raise type(known)(f"{place}: {known}{advice}") from error


def _came_from_server(error: BaseException) -> bool:
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        error = error.orig.__cause__ or error.orig
    return isinstance(error, asyncpg.PostgresError)


def place_of(settings: DatabaseSettings) -> str:
    """Return the database's URL without its password, and without options that may hold one.

    Raises InvalidSettings for a URL that cannot be read.
    """
    _refuse_unescaped(settings.url)
    url = settings.sqlalchemy_url()
    hosts = "&".join(f"{name}={url.query[name]}" for name in ("host", "port") if name in url.query)
    return f"{settings.url}{hosts and '?'}{hosts}"


def _refuse_unescaped(url: SecretUrl) -> None:
    # Part of such a password would be read as a host or a database, and be shown in errors.
    userinfo = url.reveal().partition("://")[2].rpartition("@")[0]
    if any(mark in userinfo for mark in "@/?#"):
        raise InvalidSettings(
            f"{url}: one of @ / ? # stands before the last @; in a user or password write %40 %2F %3F %23"
        )


@asynccontextmanager
async def open_cache_source(
    settings: Optional[CacheSettings], db_source: SchedulerDBSource, *, must_answer: bool
) -> AsyncIterator[Optional[SchedulerCacheSource]]:
    """Open the cache source if there are settings for one; at the end wait for the entries it still writes.

    Raises InvalidSettings for a bad URL and CacheUnavailable if Redis does not answer but ``must_answer``.
    """
    if settings is None:
        yield None
        return
    await _check_redis(settings, must_answer=must_answer)
    cache_source = create_cache_source(settings, db_source)
    with _warning_once(settings):
        try:
            yield cache_source
        finally:
            await cache_source.aclose()


async def _check_redis(settings: CacheSettings, *, must_answer: bool) -> None:
    _refuse_unescaped(settings.url)
    try:
        client = create_redis(settings)
        # The client reads the options in the URL when it makes a connection.
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise InvalidSettings(
            f"the Redis URL cannot be read: {settings.url}; write redis://host:port/0, rediss:// or unix://path"
        ) from None
    try:
        if must_answer:
            async with asyncio.timeout(settings.timeout):
                await client.ping()
    except redis.exceptions.ResponseError as error:
        raise CacheUnavailable(f"{settings.url}: Redis refused: {error}; correct the URL") from error
    except (redis.exceptions.RedisError, OSError, TimeoutError) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else _reason(error)
        raise CacheUnavailable(
            f"{settings.url}: Redis cannot be reached ({reason}); correct the URL or leave it out"
        ) from error
    finally:
        await client.aclose()


def _reason(error: BaseException) -> str:
    cause: Optional[BaseException] = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__


@contextmanager
def _warning_once(settings: CacheSettings) -> Iterator[None]:
    """Print only the first warning of the cache, with the URL it is about; a command needs no more."""
    has_warned = False

    def is_first(record: logging.LogRecord) -> bool:
        nonlocal has_warned
        if has_warned:
            return False
        has_warned = True
        record.msg, record.args = "%s: %s", (str(settings.url), record.getMessage())
        return True

    logger = logging.getLogger(read_through.__name__)
    logger.addFilter(is_first)
    try:
        yield
    finally:
        logger.removeFilter(is_first)
