"""Connections to the database that the settings name; errors say where it is and what to do."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Optional

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, get_driver
from scheduler_repo.database.errors import find_driver_error, translated_errors
from scheduler_repo.database.schema.version import require_schema
from scheduler_repo.errors import (
    DatabaseError,
    DatabaseReadOnly,
    DatabaseTimeout,
    DatabaseUnavailable,
    InvalidSettings,
)
from scheduler_repo.settings import DatabaseSettings


@asynccontextmanager
async def open_database(settings: DatabaseSettings, *, to_write: bool) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """Open an engine on a database that has this package's schema; dispose of it at the end.

    Raises InvalidSettings for a bad URL, SchemaMismatch for another revision, and DatabaseReadOnly for a
    database that cannot be written to, if it is ``to_write``.
    """
    place = place_of(settings)
    engine = create_engine(settings)
    try:
        with _naming(place):
            # The engine's own sessions are safe to cancel.
            async with engine.begin_session() as db_sess:
                await require_schema(await db_sess.connection())
                if to_write and await db_sess.scalar(sa.text("SHOW transaction_read_only")) == "on":
                    raise DatabaseReadOnly(
                        "the database is read-only (a standby, or default_transaction_read_only is on); "
                        "give one that can be written to"
                    )
        yield engine
    finally:
        await run_to_end(engine.dispose())


@asynccontextmanager
async def connect(settings: DatabaseSettings) -> AsyncIterator[AsyncConnection]:
    """Connect to a database of any schema, outside the engine's sessions; errors name the database."""
    place = place_of(settings)
    engine = create_engine(settings)
    try:
        async with AsyncExitStack() as stack:
            with _naming(place):
                connection = await stack.enter_async_context(engine.connect())
                driver = await get_driver(connection)
            with _naming(place, driver):
                yield connection
    finally:
        await run_to_end(engine.dispose())


def place_of(settings: DatabaseSettings) -> str:
    """Return the database's URL without its password, and without options that may hold one.

    Raises InvalidSettings for a URL that cannot be read.
    """
    settings.sqlalchemy_url()
    return str(settings.url)


@contextmanager
def _naming(place: str, driver: "Optional[asyncpg.Connection[asyncpg.Record]]" = None) -> Iterator[None]:
    """Name the place in errors of the database; with ``driver``, others than its are the block's own."""
    try:
        with translated_errors(driver):
            yield
    except (DatabaseError, InvalidSettings) as error:
        no_answer = isinstance(error, (DatabaseUnavailable, DatabaseTimeout))
        came_from_server = isinstance(find_driver_error(error.__cause__ or error), asyncpg.PostgresError)
        advice = "see that a PostgreSQL server listens there" if no_answer and not came_from_server else ""
        raise error.with_message(f"{place}: {error.found}", error.advice or advice) from error
