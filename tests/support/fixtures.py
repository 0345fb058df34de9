"""What most tests ask for: an empty migrated database, an engine in the scheduler's role, a cluster to load."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Final

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.prepared_databases import PreparingServer
from tests.support.databases import Database, DriverConnection
from tests.support.notes import NotesDatabases
from tests.support.shared_databases import SharedDatabase, SharedDatabases, cancel_tasks

Load = Callable[[ClusterSpec], Awaitable[None]]
# Takes settings by name.
MakeEngine = Callable[..., ExtendedAsyncSAEngine]

_LOOP: Final = pytest.StashKey[asyncio.AbstractEventLoop]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """Tests share one event loop; what one starts ends with it, so no wider fixture may keep a task."""
    yield
    loop = item.session.stash.get(_LOOP, None)
    if loop is not None and not loop.is_closed():
        cancel_tasks(loop)


@pytest.fixture(scope="session")
async def shared_databases(
    request: pytest.FixtureRequest, postgres_server: PreparingServer, migrated_template: Database
) -> AsyncIterator[SharedDatabases]:
    request.session.stash[_LOOP] = asyncio.get_running_loop()
    databases = SharedDatabases(postgres_server, migrated_template)
    yield databases
    await databases.close()


@pytest.fixture
async def shared_database(shared_databases: SharedDatabases) -> AsyncIterator[SharedDatabase]:
    """An empty database with its connections, emptied again at the end."""
    shared = await shared_databases.take()
    yield shared
    await shared_databases.give_back(shared)


@pytest.fixture(scope="session")
async def notes_databases(
    postgres_server: PreparingServer, empty_template: Database
) -> AsyncIterator[NotesDatabases]:
    databases = NotesDatabases(postgres_server, empty_template)
    yield databases
    await databases.close()


@pytest.fixture
async def notes_database(notes_databases: NotesDatabases) -> AsyncIterator[Database]:
    """A database in which the scheduler role may write notes; nobody else is connected to it."""
    yield await notes_databases.take()
    await notes_databases.give_back()


@pytest.fixture
def migrated_database(shared_database: SharedDatabase) -> Database:
    """A database at the newest revision, without rows."""
    return shared_database.database


@pytest.fixture
def engine(shared_database: SharedDatabase) -> ExtendedAsyncSAEngine:
    """The engine, as a scheduler has it; tests before this one had it too."""
    return shared_database.engine


@pytest.fixture
async def owner_connection(shared_database: SharedDatabase) -> DriverConnection:
    """A connection of the tables' owner, on which the oracle and the rows of a test go."""
    return await shared_database.owner_connection()


@pytest.fixture
def db_source(engine: ExtendedAsyncSAEngine) -> SchedulerDBSource:
    return SchedulerDBSource(engine)


@pytest.fixture
def scheduler(db_source: SchedulerDBSource) -> SchedulerRepository:
    return SchedulerRepository(db_source)


@pytest.fixture
def lifecycle(engine: ExtendedAsyncSAEngine) -> LifecycleRepository:
    return LifecycleRepository(LifecycleDBSource(engine))


@pytest.fixture
def load(engine: ExtendedAsyncSAEngine) -> Load:
    """Loads a cluster."""
    return ClusterRepository(ClusterDBSource(engine)).load_cluster


@pytest.fixture
async def unreachable() -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine whose server is not there: any statement fails."""
    engine = create_engine(DatabaseSettings(url=SecretUrl("postgresql:///nothing?host=/nonexistent")))
    yield engine
    await engine.dispose()
