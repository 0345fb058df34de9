"""A small cluster in the scheduler's role, and a connection that makes things old."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from tests.support.databases import DriverConnection
from tests.support.old_rows import LIVE
from tests.support.shared_databases import SharedDatabase
from tests.support.small_cluster import agent, cluster, session


@pytest.fixture
async def engine(shared_database: SharedDatabase) -> ExtendedAsyncSAEngine:
    """An engine on a cluster of two agents; sessions 1 to 8 are pending, of two kernels each."""
    sessions = [session(number, 1, 1) for number in LIVE]
    await ClusterRepository(ClusterDBSource(shared_database.engine)).load_cluster(
        cluster([agent("a1"), agent("a2")], sessions)
    )
    # Rows that a test holds stay held: a second of waiting for each proves no more.
    return shared_database.engine_with(batch_lock_timeout=0.1)


@pytest.fixture
def retention(engine: ExtendedAsyncSAEngine) -> RetentionRepository:
    return RetentionRepository(RetentionDBSource(engine))


@pytest.fixture
async def owner_connection(shared_database: SharedDatabase, engine: ExtendedAsyncSAEngine) -> DriverConnection:
    """A connection of the tables' owner, which writes what no engine would."""
    return await shared_database.owner_connection()
