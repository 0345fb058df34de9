"""A server of the test's own, to crash and to set up as it likes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.testing.memory_folder import memory_folder
from tests.support.databases import ADMIN, OWNER, Database, DatabaseServer


@asynccontextmanager
async def own_empty_database(settings: Mapping[str, str]) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    """A new server with these settings, and a database on it with the three roles and nothing else."""
    with EmbeddedPostgres(settings=settings, parent=memory_folder()) as server:
        database = await DatabaseServer(server.url("postgres", "postgres")).create_database()
        await database.run_as(ADMIN, read_sql_file("roles.sql"))
        yield server, database


@asynccontextmanager
async def own_database(settings: Mapping[str, str]) -> AsyncIterator[tuple[EmbeddedPostgres, Database]]:
    """A new server with these settings, and a database on it at the newest revision, without rows."""
    async with own_empty_database(settings) as (server, database):
        async with database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        yield server, database
