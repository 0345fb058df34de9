"""A small cluster with something of everything in it, and what audits it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.specs import ClusterSpec
from tests.audit.mixed_cluster import fill_mixed
from tests.databases import OWNER, SCHEDULER, Database, DriverConnection

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
def lifecycle(engine: ExtendedAsyncSAEngine) -> LifecycleDBSource:
    return LifecycleDBSource(engine)


@pytest.fixture
def audit_source(engine: ExtendedAsyncSAEngine) -> AuditDBSource:
    return AuditDBSource(engine)


@pytest.fixture
async def owner_connection(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner, which makes the drift."""
    async with migrated_database.driver_as(OWNER) as connection:
        yield connection


@pytest.fixture
def load(engine: ExtendedAsyncSAEngine) -> Load:
    """Loads a cluster."""
    return ClusterRepository(ClusterDBSource(engine)).load_cluster


@pytest.fixture
async def mixed_cluster(
    load: Load,
    db_source: SchedulerDBSource,
    lifecycle: LifecycleDBSource,
    owner_connection: DriverConnection,
) -> None:
    """The cluster of ``fill_mixed``."""
    await fill_mixed(load, db_source, lifecycle, owner_connection)
