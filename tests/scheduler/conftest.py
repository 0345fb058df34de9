"""An engine in the scheduler's role, and a connection that may write whatever the constraints let in."""

from collections.abc import AsyncIterator, Awaitable, Callable

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
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection

Load = Callable[[ClusterSpec], Awaitable[None]]


@pytest.fixture
async def engine(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """The engine, as a scheduler has it."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
    yield engine
    await engine.dispose()


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
async def owner_connection(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner, on which the oracle and the rows of a test go."""
    async with migrated_database.driver_as(OWNER) as connection:
        yield connection


@pytest.fixture
def load(engine: ExtendedAsyncSAEngine) -> Load:
    """Loads a cluster."""
    return ClusterRepository(ClusterDBSource(engine)).load_cluster
