"""A server that has copies of databases ready, made on one connection that stays open.

A new connection pays for each page of shared memory that it is the first to touch, several times what the copy
of a database costs otherwise; and a copy that is made while another test runs is not waited for.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Optional, TypeVar

from scheduler_repo.testing.databases import ADMIN, Database, DatabaseServer, DriverConnection

Result = TypeVar("Result")


# The privileges on a database itself, which a copy of it does not have.
_GRANTS: Final = """
SELECT format('GRANT %s ON DATABASE %I TO %I', a.privilege_type, $2::text, r.rolname)
FROM pg_database AS d, aclexplode(d.datacl) AS a JOIN pg_roles AS r ON r.oid = a.grantee
WHERE d.datname = $1 AND a.grantee <> d.datdba
"""


class Preparer:
    """Copies and drops databases, one after the other, in the event loop that it is made in."""

    def __init__(self, server: DatabaseServer, connection: DriverConnection) -> None:
        """Take a superuser's connection to the server."""
        self._server = server
        self._connection = connection
        self._turn = asyncio.Lock()
        self._ready: dict[Database, asyncio.Task[Database]] = {}
        self._drops: list[asyncio.Task[None]] = []

    async def take(self, template: Database) -> Database:
        """Have a copy that is ready, or soon will be, and order the next one."""
        ready = self._ready.pop(template, None)
        copy = await (self.copy(template) if ready is None else ready)
        self._ready[template] = asyncio.create_task(self.copy(template))
        return copy

    async def copy(self, template: Database) -> Database:
        """Copy a database, with all privileges."""
        copy = self._server.new_database()
        async with self._turn:
            await self._connection.execute(
                # Half the work of STRATEGY WAL_LOG: no page goes through the server's own memory.
                f"CREATE DATABASE {copy.name} TEMPLATE {template.name} STRATEGY FILE_COPY"
            )
            for (grant,) in await self._connection.fetch(_GRANTS, template.name, copy.name):
                await self._connection.execute(grant)
        return copy

    async def drop(self, database: Database) -> None:
        """Drop a database, whoever is still connected to it."""
        async with self._turn:
            await self._connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")

    async def drop_soon(self, database: Database) -> None:
        """Have a database dropped, without waiting for it."""
        self._drops.append(asyncio.create_task(self.drop(database)))

    async def finish(self) -> None:
        """Drop the copies that nobody asked for, and wait for everything."""
        for copy in await asyncio.gather(*self._ready.values()):
            await self.drop(copy)
        await asyncio.gather(*self._drops)


class PreparingServer(DatabaseServer, frozen=True):
    """A server for tests, each with an event loop of its own, that take many copies of few databases."""

    preparer: Preparer
    loop: asyncio.AbstractEventLoop

    async def create_database(self, template: Optional[Database] = None) -> Database:
        """Make an empty database, or a copy of another one with its privileges."""
        return await self._there(self.preparer.copy(template or Database("template0", self.admin_url)))

    async def take_copy(self, template: Database) -> Database:
        """Have a copy of a database that never changes and that nobody connects to."""
        return await self._there(self.preparer.take(template))

    async def give_back(self, copy: Database) -> None:
        """Have a copy dropped soon, whoever is still connected to it; an error comes at the very end."""
        await self._there(self.preparer.drop_soon(copy))

    async def drop_database(self, database: Database) -> None:
        """Drop a database, whoever is still connected to it."""
        await self._there(self.preparer.drop(database))

    async def _there(self, work: Coroutine[None, None, Result]) -> Result:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self.loop))


@contextmanager
def preparing(admin_url: str) -> Iterator[PreparingServer]:
    """Prepare databases on the server of this superuser; at the end none is left of what was given back."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="preparing databases", daemon=True)
    thread.start()

    def run(work: Coroutine[None, None, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    opening = _opened(DatabaseServer(admin_url))
    try:
        server = PreparingServer(admin_url, run(opening.__aenter__()), loop)
        try:
            yield server
        finally:
            run(opening.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def _opened(server: DatabaseServer) -> AsyncIterator[Preparer]:
    async with server.maintenance.driver_as(ADMIN) as connection:
        preparer = Preparer(server, connection)
        yield preparer
        await preparer.finish()
