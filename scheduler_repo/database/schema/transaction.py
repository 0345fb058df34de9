"""One transaction on a connection of the caller's, for work on the schema."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.errors import translate_error
from scheduler_repo.errors import InvalidInput


@asynccontextmanager
async def transaction_on(connection: AsyncConnection, *, keep: bool) -> AsyncIterator[None]:
    """Begin a READ COMMITTED transaction; at the end commit it, or roll it back if not ``keep``.

    Rolls back on any exception. Raises InvalidInput if the connection is in a transaction already or in
    AUTOCOMMIT mode; errors of the driver leave as the package's own.
    """
    if connection.in_transaction():
        raise InvalidInput(
            "the connection is in a transaction already, and this needs one of its own; end the other first"
        )
    try:
        transaction = await connection.begin()
        try:
            # A later statement must see what another process committed while this one waited for a lock.
            await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
            await _refuse_autocommit(connection)
            yield
            if keep:
                await transaction.commit()
        finally:
            if transaction.is_active:
                await transaction.rollback()
    except Exception as error:
        known = translate_error(error)
        if known is None:
            raise
        raise known from error


async def _refuse_autocommit(connection: AsyncConnection) -> None:
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    if driver is None or not driver.is_in_transaction():
        raise InvalidInput(
            "the connection is in AUTOCOMMIT mode, and this needs a transaction; "
            "take one without isolation_level='AUTOCOMMIT'"
        )
