"""A server that has copies of databases ready, made on one connection that stays open.

A new connection pays for each page of shared memory that it is the first to touch, several times what the copy
of a database costs otherwise; and a copy that is made while another test runs is not waited for.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Optional, TypeVar

import msgspec

from scheduler_repo.testing.databases import ADMIN, Database, DatabaseServer, DriverConnection

Result = TypeVar("Result")

# The privileges on a database itself, which a copy does not have; PUBLIC's own may have been revoked.
_GRANTS: Final = """
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', $2::text)
UNION ALL
SELECT format('GRANT %s ON DATABASE %I TO %s', a.privilege_type, $2::text,
              CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END)
FROM pg_database AS d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) AS a
WHERE d.datname = $1 AND a.grantee <> d.datdba
"""


class PreparingServer(DatabaseServer, frozen=True):
    """A server for tests, each with an event loop of its own, that take many copies of few databases.

    It copies and drops them one after the other, on a superuser's connection in the event loop ``loop``.
    """

    connection: DriverConnection
    loop: asyncio.AbstractEventLoop
    turn: asyncio.Lock = msgspec.field(default_factory=asyncio.Lock)
    ready: dict[Database, Future[Database]] = msgspec.field(default_factory=dict)
    drops: list[Future[None]] = msgspec.field(default_factory=list)

    async def create_database(self, template: Optional[Database] = None) -> Database:
        """Make an empty database, or a copy of another one with its privileges."""
        return await asyncio.wrap_future(self._copy(template or Database("template0", self.admin_url)))

    async def take_copy(self, template: Database) -> Database:
        """Have a copy of a database that never changes and that nobody connects to, and order the next one."""
        ready = self.ready.pop(template) if template in self.ready else self._copy(template)
        copy = await asyncio.wrap_future(ready)
        self.ready[template] = self._copy(template)
        return copy

    async def give_back(self, copy: Database) -> None:
        """Have a copy dropped soon, whoever is still connected to it; an error comes at the very end."""
        self.drops.append(self._drop(copy))

    async def drop_database(self, database: Database) -> None:
        await asyncio.wrap_future(self._drop(database))

    async def finish(self) -> None:
        """Drop the copies that nobody asked for, and wait for everything."""
        for ready in self.ready.values():
            await self.give_back(await asyncio.wrap_future(ready))
        for drop in self.drops:
            await asyncio.wrap_future(drop)

    def _copy(self, template: Database) -> Future[Database]:
        copy = self.new_database()

        async def work() -> Database:
            async with self.turn:
                # Half the work of STRATEGY WAL_LOG: no page goes through the server's own memory.
                statement = f"CREATE DATABASE {copy.name} TEMPLATE {template.name} STRATEGY FILE_COPY"
                await self.connection.execute(statement)
                for (grant,) in await self.connection.fetch(_GRANTS, template.name, copy.name):
                    await self.connection.execute(grant)
            return copy

        return asyncio.run_coroutine_threadsafe(work(), self.loop)

    def _drop(self, database: Database) -> Future[None]:
        async def work() -> None:
            async with self.turn:
                await self.connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")

        return asyncio.run_coroutine_threadsafe(work(), self.loop)


@contextmanager
def preparing(admin_url: str) -> Iterator[PreparingServer]:
    """Prepare databases on the server of this superuser; at the end none is left of what was given back."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="preparing databases", daemon=True)
    thread.start()

    def run(work: Coroutine[None, None, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    opening = _open(admin_url)
    try:
        server = run(opening.__aenter__())
        try:
            yield server
        finally:
            run(opening.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@asynccontextmanager
async def _open(admin_url: str) -> AsyncIterator[PreparingServer]:
    async with DatabaseServer(admin_url).maintenance.driver_as(ADMIN) as connection:
        server = PreparingServer(admin_url, connection, asyncio.get_running_loop())
        yield server
        await server.finish()
