"""Checks of a connection when it is made, and each time that it is taken from the pool."""

from time import monotonic
from typing import Final, Optional

import asyncpg
import sqlalchemy as sa
from sqlalchemy import AdaptedConnection
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.pool import ConnectionPoolEntry

from scheduler_repo.database.array_types import describe_arrays
from scheduler_repo.errors import PoolerInTheWay, UnsupportedEncoding
from scheduler_repo.settings import DatabaseSettings

_MADE_AT: Final = "scheduler_repo_made_at"
_ENCODING: Final = "UTF8"


class ConnectionAges:
    """Which pooled connections are too old to be used: the address may lead to another server by now."""

    def __init__(self, longest: float) -> None:
        """A connection is used for at most ``longest`` seconds."""
        self._longest = longest
        self._oldest_allowed = 0.0

    def renew_all(self) -> None:
        """Have every connection that was made before now replaced when it is next taken."""
        self._oldest_allowed = monotonic()

    def note_made(self, _adapted: AdaptedConnection, record: ConnectionPoolEntry) -> None:
        """Listen to the pool's ``connect``."""
        record.info[_MADE_AT] = monotonic()

    def refuse_old(
        self, adapted: AdaptedConnection, record: ConnectionPoolEntry, _proxy: sa.PoolProxiedConnection
    ) -> None:
        """Listen to the pool's ``checkout``: have it replace what is too old, or was closed meanwhile.

        A restart of the server closes a connection that lies in the pool.
        """
        made_at = record.info[_MADE_AT]
        is_old = made_at < self._oldest_allowed or monotonic() - made_at > self._longest
        if is_old or adapted.driver_connection.is_closed():
            raise sa.exc.DisconnectionError


def was_made_since(connection: AsyncConnection, moment: float) -> bool:
    """Whether a connection that is out of the pool was made after ``moment``, a ``monotonic()``."""
    made_at: float = connection.info[_MADE_AT]
    return made_at >= moment


def watch_connections(engine: sa.Engine, settings: DatabaseSettings, ages: ConnectionAges) -> None:
    """Put the checks on an engine's pool."""
    if settings.pooler is None:
        # Before SQLAlchemy's own look at the server, which a pooler could already fail.
        sa.event.listen(
            engine,
            "connect",
            lambda adapted, _record: _refuse_pooler(adapted, settings.connect_timeout),
            insert=True,
        )
    sa.event.listen(
        engine, "connect", lambda adapted, _record: refuse_encoding(adapted.driver_connection), insert=True
    )
    sa.event.listen(engine, "connect", lambda adapted, _record: describe_arrays(adapted.driver_connection))
    # The last of them: nothing may come between it and the first checkout.
    sa.event.listen(engine, "connect", ages.note_made)
    sa.event.listen(engine, "checkout", ages.refuse_old)
    sa.event.listen(engine, "invalidate", _terminate)


def refuse_encoding(driver: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raise UnsupportedEncoding unless every text can be stored; the server has said its encoding already."""
    found = getattr(driver.get_settings(), "server_encoding", _ENCODING)
    if found != _ENCODING:
        raise UnsupportedEncoding(
            f"the database's encoding is {found}, in which not every name can be stored; give one of encoding "
            "UTF8: CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def _refuse_pooler(adapted: AdaptedConnection, timeout: float) -> None:
    """Raise PoolerInTheWay if the process that answers is not the one that the connection was made to.

    One round trip, by a simple query: a prepared one might meet a statement of another client.
    """
    driver: asyncpg.Connection[asyncpg.Record] = adapted.driver_connection
    statement = f"SELECT WHERE pg_backend_pid() = {driver.get_server_pid()}"
    if adapted.run_async(lambda _: driver.execute(statement, timeout=timeout)) == "SELECT 1":
        return
    driver.terminate()
    raise PoolerInTheWay(
        "the server process that answers is not the one that was connected to: a connection pooler stands "
        "between, and the settings name none; set SCHEDULER_REPO_POOLER (DatabaseSettings.pooler) to "
        "'transaction', or to 'session' if the pooler keeps one server connection for each client"
    )


def _terminate(
    adapted: AdaptedConnection, _record: ConnectionPoolEntry, _error: Optional[BaseException]
) -> None:
    """Close the socket of a connection that the pool gives up, at once, so that the server rolls back.

    SQLAlchemy would first try to say goodbye; on a hung server that takes it two seconds.
    """
    adapted.driver_connection.terminate()
