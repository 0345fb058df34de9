"""A small cluster in the scheduler's role, and a connection that makes things old."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.old_rows import LIVE
from tests.support.small_cluster import agent, cluster, session


@pytest.fixture
async def engine(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine on a cluster of two agents; sessions 1 to 8 are pending, of two kernels each."""
    url = SecretUrl(migrated_database.url_as(SCHEDULER))
    # Rows that a test holds stay held: a second of waiting for each proves no more.
    engine = create_engine(DatabaseSettings(url=url, batch_lock_timeout=0.1))
    sessions = [session(number, 1, 1) for number in LIVE]
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("a1"), agent("a2")], sessions))
    yield engine
    await engine.dispose()


@pytest.fixture
def retention(engine: ExtendedAsyncSAEngine) -> RetentionRepository:
    return RetentionRepository(RetentionDBSource(engine))


@pytest.fixture
async def owner_connection(
    migrated_database: Database, engine: ExtendedAsyncSAEngine
) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner, which writes what no engine would."""
    async with migrated_database.driver_as(OWNER) as connection:
        yield connection
