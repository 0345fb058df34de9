"""A real PostgreSQL server, and databases on it; a real Redis or Valkey.

SCHEDULER_REPO_TEST_ADMIN_URL, a superuser's URL (postgresql+asyncpg://), has the tests run on another server,
which must let every role in without a password. SCHEDULER_REPO_TEST_REDIS_URL (redis://HOST:PORT, without a
password) has them run on another Redis or Valkey, where each worker empties a database of its own; tests that
stop a server start one themselves.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import hypothesis
import pytest
import redis

from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support.databases import ADMIN, OWNER, Database
from tests.support.memory_folder import memory_folder
from tests.support.prepared_databases import PreparingServer, preparing

# Few examples where nothing else is said, many by --hypothesis-profile thorough; where a test gives a number of
# its own, that counts.
hypothesis.settings.register_profile("brief", parent=hypothesis.settings(), max_examples=40)
hypothesis.settings.register_profile("thorough", parent=hypothesis.settings(), max_examples=300)
hypothesis.settings.load_profile("brief")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PreparingServer]:
    """The server that all tests share."""
    given = os.environ.get("SCHEDULER_REPO_TEST_ADMIN_URL")
    if given:
        with preparing(given) as server:
            yield server
        return
    settings = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
    with (
        EmbeddedPostgres(settings=settings, parent=memory_folder()) as embedded,
        preparing(embedded.url("postgres", "postgres")) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def empty_template(postgres_server: PreparingServer) -> Iterator[Database]:
    """A database with the three roles to copy; nobody connects to it, else it could not be copied."""

    async def make() -> Database:
        database = await postgres_server.create_database()
        await database.run_as(ADMIN, read_sql_file("roles.sql"))
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(postgres_server.drop_database(database))


@pytest.fixture(scope="session")
def migrated_template(postgres_server: PreparingServer, empty_template: Database) -> Iterator[Database]:
    """A migrated database to copy; nobody connects to it, else it could not be copied."""

    async def make() -> Database:
        database = await postgres_server.create_database(empty_template)
        async with database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(postgres_server.drop_database(database))


@pytest.fixture
async def empty_database(postgres_server: PreparingServer, empty_template: Database) -> AsyncIterator[Database]:
    """A database with the three roles and nothing else."""
    database = await postgres_server.take_copy(empty_template)
    yield database
    await postgres_server.give_back(database)


@pytest.fixture
async def migrated_database(
    postgres_server: PreparingServer, migrated_template: Database
) -> AsyncIterator[Database]:
    """A database at the newest revision, without rows."""
    database = await postgres_server.take_copy(migrated_template)
    yield database
    await postgres_server.give_back(database)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """The URL of the Redis or Valkey that all tests share."""
    given = os.environ.get("SCHEDULER_REPO_TEST_REDIS_URL")
    if given:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        yield urlsplit(given)._replace(path=f"/{worker}").geturl()
        return
    with EmbeddedValkey() as server:
        yield server.url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The same, without entries."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushdb()
    return redis_server
