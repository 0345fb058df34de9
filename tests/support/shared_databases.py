"""Databases that one test after the other has, emptied between them, with connections that stay open.

A copied database costs much more than an emptied one, a new connection has nothing in its caches, and a new
engine compiles every statement anew. A database comes back as empty as a copy, or it does not come back: one
whose schema was changed, which has statistics or which grew large is dropped.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Optional

import asyncpg
import msgspec
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.errors import WrongEventLoop
from scheduler_repo.models import Base
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.prepared_databases import PreparingServer
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DriverConnection
from tests.support.rows import KEPT_BY_DATABASE
from tests.support.waiting import PATIENCE

# Whoever is held up by a test waits for it, however long a busy machine takes to let go.
_PATIENT_BOUNDS: Final = dict.fromkeys(
    ("pool_timeout", "connect_timeout", "lock_timeout", "batch_lock_timeout"), PATIENCE
)

_LARGE_BYTES: Final = 4 * 2**20

# Every change of the schema, of privileges, of settings and of statistics writes a row of one of these anew.
CATALOGS: Final = {
    "pg_class": "true",
    "pg_attribute": "attrelid >= 16384",
    "pg_attrdef": "true",
    "pg_index": "indexrelid >= 16384",
    "pg_inherits": "true",
    "pg_policy": "true",
    "pg_rewrite": "oid >= 16384",
    "pg_sequence": "true",
    "pg_statistic_ext": "true",
    "pg_constraint": "oid >= 16384",
    "pg_trigger": "true",
    "pg_type": "oid >= 16384",
    "pg_proc": "oid >= 16384",
    "pg_extension": "true",
    "pg_event_trigger": "true",
    "pg_default_acl": "true",
    "pg_statistic": "starelid >= 16384",
    "pg_namespace": "nspname NOT LIKE 'pg_t%'",  # which hold temporary tables
    "pg_database": "datname = current_database()",
    "pg_db_role_setting": "setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())",
}
_MIGRATED: Final = CATALOGS | {VERSION_TABLE: "true"}
_SIZE: Final = "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE oid >= 16384"
# Each waits until that process is gone.
_END_OTHERS: Final = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND pid <> ALL($1)
"""
_EMPTY: Final = ";".join(
    [
        *(f"DELETE FROM {table}" for table in Base.metadata.tables if table not in KEPT_BY_DATABASE),
        "SELECT rebuild_usage()",  # the triggers of changes fire in spite of it
        "SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence",
    ]
)

# What a reset of the driver leaves as it is.
_FORGET: Final = "SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; DISCARD TEMP; DISCARD SEQUENCES"

State = list[tuple[str, int, int]]


class KeptConnections:
    """Connections of the driver that one user after the other has, as good as new in between.

    A new one costs its user some 10 ms, and several times that where it is the first to write to many tables.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._free: dict[str, list[DriverConnection]] = {}
        self._taken: set[DriverConnection] = set()

    @property
    def server_pids(self) -> set[int]:
        """Those of the connections that nobody has now."""
        return {each.get_server_pid() for kept in self._free.values() for each in kept if not each.is_closed()}

    async def take(self, database: Database, role: str) -> DriverConnection:
        """Have one that answers; in another event loop a new one."""
        if asyncio.get_running_loop() is not self._loop:
            return await database.open_driver_as(role)
        kept = self._free.setdefault(role, [])
        while kept:
            connection = kept.pop()
            try:
                await connection.execute("SELECT")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                connection.terminate()  # a test has ended it
            else:
                break
        else:
            connection = await database.open_driver_as(role)
        self._taken.add(connection)
        return connection

    async def give_back(self, role: str, connection: DriverConnection) -> None:
        """Keep it for the next one, or close it where that would find more than a new one has."""
        if connection not in self._taken:
            await connection.close()
            return
        self._taken.remove(connection)
        if connection.is_closed() or connection.is_in_transaction():
            await connection.close()
            return
        await connection.reset(timeout=PATIENCE)
        await connection.execute(_FORGET)
        await connection.reload_schema_state()  # statements that it remembers may be of another schema
        self._free[role].append(connection)

    def close(self) -> None:
        """Close all."""
        for connection in (*self._taken, *(each for kept in self._free.values() for each in kept)):
            connection.terminate()
        self._taken.clear()
        self._free.clear()


class KeptDatabase(Database, frozen=True):
    """A database whose connections of the driver are kept."""

    connections: KeptConnections

    @asynccontextmanager
    async def driver_as(self, role: str) -> AsyncIterator[DriverConnection]:
        connection = await self.connections.take(self, role)
        try:
            yield connection
        finally:
            await self.connections.give_back(role, connection)


class SharedDatabase:
    """A migrated database, with engines in the scheduler's role and a connection of the tables' owner."""

    def __init__(self, database: Database, admin: DriverConnection, state: State) -> None:
        """Made by ``SharedDatabases``."""
        self.connections = KeptConnections()
        self.database = KeptDatabase(database.name, database.admin_url, self.connections)
        self._admin = admin
        self._state = state
        self._owner: Optional[DriverConnection] = None
        self._server_pids: set[int] = set()
        self._engines: dict[frozenset[tuple[str, float]], ExtendedAsyncSAEngine] = {}

    @property
    def engine(self) -> ExtendedAsyncSAEngine:
        """The engine, as a scheduler has it, but patient."""
        return self.engine_with()

    def engine_with(self, **settings: float) -> ExtendedAsyncSAEngine:
        """Return the engine with these settings, which tests before this one had too."""
        key = frozenset(settings.items())
        if key not in self._engines:
            url = SecretUrl(self.database.url_as(SCHEDULER))
            engine = create_engine(
                msgspec.structs.replace(DatabaseSettings(url=url), **(_PATIENT_BOUNDS | settings))
            )
            sa.event.listen(engine.sync_engine, "connect", self._note_server_pid)
            self._engines[key] = engine
        return self._engines[key]

    async def owner_connection(self) -> DriverConnection:
        """Return the owner's connection, which is opened when it is first asked for."""
        if self._owner is None or self._owner.is_closed():
            self._owner = await self.database.open_driver_as(OWNER)
            self._server_pids.add(self._owner.get_server_pid())
        return self._owner

    async def empty(self) -> bool:
        """End what else is connected and delete every row; false if that does not make it as it was."""
        try:
            await self._tidy_connections()
            await self._admin.fetch(_END_OTHERS, self._server_pids | self.connections.server_pids)
            if (
                await read_state(self._admin, _MIGRATED) != self._state
                or await self._admin.fetchval(_SIZE) > _LARGE_BYTES
            ):
                return False
            await self._admin.execute(_EMPTY)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, WrongEventLoop, OSError, TimeoutError):
            return False
        return True

    async def close(self) -> None:
        """Close all connections."""
        for engine in self._engines.values():
            await engine.dispose()
        self.connections.close()
        for connection in (self._admin, self._owner):
            if connection is not None:
                connection.terminate()

    async def _tidy_connections(self) -> None:
        # One connection stays; a test that had several at once, or closed the engine, leaves none.
        for key, engine in list(self._engines.items()):
            pool = engine.pool
            assert isinstance(pool, sa.QueuePool)
            if pool.checkedout() or pool.checkedin() != 1:
                del self._engines[key]
                await engine.dispose()
        if self._owner is None or self._owner.is_closed():
            return
        if self._owner.is_in_transaction():
            self._owner.terminate()
            self._server_pids.discard(self._owner.get_server_pid())
        else:
            await self._owner.reset(timeout=PATIENCE)
            await self._owner.execute("DISCARD TEMP")

    def _note_server_pid(self, adapted: sa.AdaptedConnection, _record: object) -> None:
        self._server_pids.add(adapted.driver_connection.get_server_pid())


class SharedDatabases:
    """Hands them out, as few as are needed at once."""

    def __init__(self, server: PreparingServer, template: Database) -> None:
        """Take the server, and the migrated database to copy."""
        self._server = server
        self._template = template
        self._free: list[SharedDatabase] = []

    async def take(self) -> SharedDatabase:
        """Have an empty one."""
        if self._free:
            return self._free.pop()
        database = await self._server.take_copy(self._template)
        admin = await database.open_driver_as(ADMIN)
        await admin.execute("SET session_replication_role = replica")  # no trigger fires
        return SharedDatabase(database, admin, await read_state(admin, _MIGRATED))

    async def give_back(self, shared: SharedDatabase) -> None:
        """Have it emptied, or dropped."""
        if await shared.empty():
            self._free.append(shared)
        else:
            await self._drop(shared)

    async def close(self) -> None:
        """Drop all."""
        for shared in self._free:
            await self._drop(shared)

    async def _drop(self, shared: SharedDatabase) -> None:
        await shared.close()
        await self._server.give_back(shared.database)


async def read_state(admin: DriverConnection, catalogs: Mapping[str, str]) -> State:
    """Read what tells a changed schema from one that is as it was: from these tables, by condition."""
    query = " UNION ALL ".join(
        f"SELECT '{name}', count(*), coalesce(sum(xmin::text::bigint), 0) FROM {name} WHERE {rows}"
        for name, rows in catalogs.items()
    )
    return [tuple(row) for row in await admin.fetch(query)]


def cancel_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what a test left running in an event loop that the next one shares."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
