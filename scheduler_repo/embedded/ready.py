"""Servers that are started beside the event loop, and a database on them that is ready for use."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from scheduler_repo.cancellation import run_to_end
from scheduler_repo.database.connecting import connect
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded.postgres import EmbeddedPostgres
from scheduler_repo.embedded.server import EmbeddedServer
from scheduler_repo.settings import DatabaseSettings, SecretUrl

DATABASE: Final = "scheduler_repo"
OWNER: Final = "scheduler_repo_owner"
SCHEDULER: Final = "scheduler_repo_scheduler"
SUPERUSER: Final = "postgres"
# Of data that nobody needs after a crash.
THROW_AWAY: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@asynccontextmanager
async def starting(servers: Sequence[EmbeddedServer]) -> AsyncIterator[Awaitable[object]]:
    """Start all servers in threads and yield an awaitable that completes, or raises, when all have started.

    At the end stops and removes all but those that were left running.
    """
    event_loop = asyncio.get_running_loop()
    starts = [event_loop.run_in_executor(None, server.start) for server in servers]
    try:
        yield asyncio.shield(asyncio.gather(*starts))
    finally:
        await run_to_end(_remove(servers, starts))


async def create_database(postgres: EmbeddedPostgres) -> None:
    """Create the three roles, a database that the owner role owns, and, as that role, its schema."""
    await _run_as_superuser(postgres, "postgres", f"CREATE DATABASE {DATABASE}")
    await _run_as_superuser(
        postgres, DATABASE, read_sql_file("roles.sql"), f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}"
    )
    settings = DatabaseSettings(url=SecretUrl(postgres.url(DATABASE, OWNER)))
    async with connect(settings) as connection:
        await upgrade_schema(connection)


async def _remove(servers: Sequence[EmbeddedServer], starts: "Sequence[asyncio.Future[None]]") -> None:
    # A start in a thread cannot be interrupted, only undone.
    if starts:
        await asyncio.wait(starts)
    await asyncio.gather(*(asyncio.to_thread(server.remove) for server in servers))


async def _run_as_superuser(postgres: EmbeddedPostgres, database: str, *scripts: str) -> None:
    superuser = await asyncpg.connect(
        host=str(postgres.socket_directory), port=postgres.port, user=SUPERUSER, database=database
    )
    try:
        for script in scripts:
            await superuser.execute(script)
    finally:
        await superuser.close()
