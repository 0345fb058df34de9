"""A real PostgreSQL server, and databases on it; a real Redis or Valkey.

SCHEDULER_REPO_TEST_ADMIN_URL, a superuser's URL (postgresql+asyncpg://), has the tests run on another server,
which must let every role in without a password. SCHEDULER_REPO_TEST_REDIS_URL (redis://HOST:PORT, without a
password) has them run on another Redis or Valkey, where each worker empties a database of its own; tests that
stop a server start one themselves.
"""

import gc
import resource
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Final

import hypothesis
import pytest

from scheduler_repo.testing.databases import Database
from scheduler_repo.testing.prepared_databases import PreparingServer

pytest_plugins = ("scheduler_repo.testing", "tests.support.fixtures", "tests.support.chromium")

# Few examples where nothing else is said, many by --hypothesis-profile thorough; where a test gives a number of
# its own, that counts. They are the same in each run, and a slow machine is no failure; who searches for what
# these do not find runs with --hypothesis-profile searching.
_SEARCHING: Final = hypothesis.settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.differing_executors],
)
_REPEATED: Final = hypothesis.settings(_SEARCHING, derandomize=True, database=None)
hypothesis.settings.register_profile("searching", parent=_SEARCHING)
hypothesis.settings.register_profile("thorough", parent=_REPEATED)
hypothesis.settings.register_profile("brief", parent=_REPEATED, max_examples=5)
hypothesis.settings.load_profile("brief")

# Many times what any test takes, and less than a machine has.
_MOST_BYTES: Final = 6 << 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--law-steps",
        type=int,
        default=2_000,
        help="how many steps the law of refreshes is driven for (-m slow)",
    )


def pytest_configure() -> None:
    """Bound the memory and heed what a background job ignores, here and in all that the tests start."""
    if sys.platform == "linux":
        # A test that grows without end fails itself; else the kernel kills the worker, which tells nothing.
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Iterator[None]:
    """Spare the garbage collector what stays to the end: else it would be most of what it looks at."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def postgres_server(scheduler_repo_postgres: PreparingServer) -> PreparingServer:
    """The server that all tests share."""
    return scheduler_repo_postgres


@pytest.fixture(scope="session")
def empty_template(scheduler_repo_empty_template: Database) -> Database:
    """A database with the three roles to copy; nobody connects to it, else it could not be copied."""
    return scheduler_repo_empty_template


@pytest.fixture(scope="session")
def migrated_template(scheduler_repo_template: Database) -> Database:
    """A migrated database to copy; nobody connects to it, else it could not be copied."""
    return scheduler_repo_template


@pytest.fixture
async def empty_database(postgres_server: PreparingServer, empty_template: Database) -> AsyncIterator[Database]:
    """A database with the three roles and nothing else."""
    database = await postgres_server.take_copy(empty_template)
    yield database
    await postgres_server.give_back(database)


@pytest.fixture
def fresh_database(scheduler_repo_database: Database) -> Database:
    """A database at the newest revision that no test has had before."""
    return scheduler_repo_database


@pytest.fixture(scope="session")
def redis_server(scheduler_repo_redis: str) -> str:
    """The URL of the Redis or Valkey that all tests share."""
    return scheduler_repo_redis


@pytest.fixture
def redis_url(scheduler_repo_redis_url: str) -> str:
    """The same, without entries."""
    return scheduler_repo_redis_url
