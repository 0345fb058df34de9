"""A pytest plugin for the tests of those who use this package: private servers, and a fresh database per test.

Load it by name, with ``pytest_plugins = ("scheduler_repo.testing",)`` in the topmost conftest.py or with
``pytest -p scheduler_repo.testing``; it comes with the extra ``testing``. Fixtures for tests:

``repositories``     every repository, on a database of the newest revision without rows, and an empty cache
``database_engine``  the engine of ``repositories``
``no_retry_waits``   retries follow at once; by ``pytest.mark.usefixtures("no_retry_waits")`` for many tests

Those with ``scheduler_repo_`` before are what these are made of. The servers start when a test first needs
them, once per process. Two variables name servers to use instead: SCHEDULER_REPO_TEST_ADMIN_URL, a superuser's
URL (postgresql+asyncpg://; every role must be let in without a password), and SCHEDULER_REPO_TEST_REDIS_URL
(redis://HOST:PORT; each worker of pytest-xdist empties a database of its own). An engine belongs to one event
loop: where tests run in one of a wider scope, set asyncio_default_fixture_loop_scope to the same.

There are no asserts here: PYTEST_DONT_REWRITE, so that a conftest.py may import it before.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import redis

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedValkey
from scheduler_repo.embedded.ready import THROW_AWAY
from scheduler_repo.errors import MissingDependency
from scheduler_repo.resilience.policies.retry import retry_waits_disabled
from scheduler_repo.testing.databases import ADMIN, OWNER, SCHEDULER, Database
from scheduler_repo.testing.memory_folder import memory_folder
from scheduler_repo.testing.prepared_databases import PreparingServer, preparing

try:
    import pytest
    import pytest_asyncio
except ModuleNotFoundError as error:
    raise MissingDependency(f"{error.name} is not installed; pip install 'scheduler-repo[testing]'") from error


@pytest.fixture(scope="session")
def scheduler_repo_postgres() -> Iterator[PreparingServer]:
    """The PostgreSQL server that all tests of this process share."""
    admin_url = os.environ.get("SCHEDULER_REPO_TEST_ADMIN_URL")
    with ExitStack() as stack:
        if not admin_url:
            embedded = stack.enter_context(EmbeddedPostgres(settings=THROW_AWAY, parent=memory_folder()))
            admin_url = embedded.url("postgres", "postgres")
        yield stack.enter_context(preparing(admin_url))


@pytest.fixture(scope="session")
def scheduler_repo_empty_template(scheduler_repo_postgres: PreparingServer) -> Iterator[Database]:
    """A database with the three roles to copy; nobody connects to it, else it could not be copied."""
    database = asyncio.run(scheduler_repo_postgres.create_database())
    asyncio.run(database.run_as(ADMIN, read_sql_file("roles.sql")))
    yield database
    asyncio.run(scheduler_repo_postgres.drop_database(database))


@pytest.fixture(scope="session")
def scheduler_repo_template(
    scheduler_repo_postgres: PreparingServer, scheduler_repo_empty_template: Database
) -> Iterator[Database]:
    """A migrated database to copy; nobody connects to it, else it could not be copied."""

    async def make() -> Database:
        database = await scheduler_repo_postgres.create_database(scheduler_repo_empty_template)
        async with database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        return database

    database = asyncio.run(make())
    yield database
    asyncio.run(scheduler_repo_postgres.drop_database(database))


@pytest_asyncio.fixture
async def scheduler_repo_database(
    scheduler_repo_postgres: PreparingServer, scheduler_repo_template: Database
) -> AsyncIterator[Database]:
    """A database at the newest revision, without rows."""
    database = await scheduler_repo_postgres.take_copy(scheduler_repo_template)
    yield database
    await scheduler_repo_postgres.give_back(database)


@pytest.fixture(scope="session")
def scheduler_repo_redis() -> Iterator[str]:
    """The URL of the Redis or Valkey that all tests of this process share."""
    given = os.environ.get("SCHEDULER_REPO_TEST_REDIS_URL")
    if given:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")
        yield urlsplit(given)._replace(path=f"/{worker}").geturl()
        return
    with EmbeddedValkey() as server:
        yield server.url


@pytest.fixture
def scheduler_repo_redis_url(scheduler_repo_redis: str) -> str:
    """The same, without entries."""
    with redis.Redis.from_url(scheduler_repo_redis) as client:
        client.flushdb()
    return scheduler_repo_redis


@pytest_asyncio.fixture
async def repositories(
    scheduler_repo_database: Database, scheduler_repo_redis_url: str
) -> AsyncIterator[Repositories]:
    """Every repository, connected as scheduler_repo_scheduler, on a database of its own."""
    async with open_repositories(scheduler_repo_database.url_as(SCHEDULER), scheduler_repo_redis_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def database_engine(repositories: Repositories) -> ExtendedAsyncSAEngine:
    """The engine of ``repositories``, for sources and repositories that a test puts together by itself."""
    return repositories.engine


@pytest.fixture
def no_retry_waits() -> Iterator[None]:
    """Let retries follow at once; how often there is one, and of what, stays the same."""
    with retry_waits_disabled():
        yield
