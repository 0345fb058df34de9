"""A real PostgreSQL server, and databases on it.

SCHEDULER_REPO_TEST_ADMIN_URL, a superuser's URL (postgresql+asyncpg://), has the tests run on another server,
which must let every role in without a password.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from scheduler_repo.database.schema import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres
from tests.databases import ADMIN, OWNER, Database, DatabaseServer


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[DatabaseServer]:
    """The server that all tests share."""
    given = os.environ.get("SCHEDULER_REPO_TEST_ADMIN_URL")
    if given:
        yield DatabaseServer(given)
        return
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with EmbeddedPostgres(settings=settings) as server:
        yield DatabaseServer(server.url("postgres", "postgres"))


@pytest.fixture(scope="session")
def migrated_template(postgres_server: DatabaseServer) -> Iterator[Database]:
    """A migrated database to copy; nobody connects to it, else it could not be copied."""

    async def make() -> Database:
        database = await postgres_server.create_database()
        await database.run_as(ADMIN, read_sql_file("roles.sql"))
        async with database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(postgres_server.drop_database(database))


@pytest.fixture
async def empty_database(postgres_server: DatabaseServer) -> AsyncIterator[Database]:
    """A database with the three roles and nothing else."""
    database = await postgres_server.create_database()
    await database.run_as(ADMIN, read_sql_file("roles.sql"))
    yield database
    await postgres_server.drop_database(database)


@pytest.fixture
async def migrated_database(
    postgres_server: DatabaseServer, migrated_template: Database
) -> AsyncIterator[Database]:
    """A database at the newest revision, without rows."""
    database = await postgres_server.create_database(migrated_template)
    # A copy has the tables' privileges, but not those on the database itself.
    await database.run_as(ADMIN, read_sql_file("roles.sql"))
    yield database
    await postgres_server.drop_database(database)
