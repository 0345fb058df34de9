"""Leases of a small cluster, with short bounds."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from tests.lease.holders import AGENT, IDLE_SECONDS, SESSIONS
from tests.support.databases import Database, DriverConnection
from tests.support.shared_databases import SharedDatabase
from tests.support.small_cluster import agent, cluster, session


@pytest.fixture
async def database(shared_database: SharedDatabase) -> Database:
    """A database with one agent and six sessions that fit it together."""
    await ClusterRepository(ClusterDBSource(shared_database.engine)).load_cluster(
        cluster([agent(AGENT)], [session(number, 1) for number in range(SESSIONS)])
    )
    return shared_database.database


@pytest.fixture
def engine(database: Database, shared_database: SharedDatabase) -> ExtendedAsyncSAEngine:
    """The engine of a scheduler; one that is stopped keeps its transaction for a while."""
    return shared_database.engine_with(idle_in_transaction_timeout=IDLE_SECONDS)


@pytest.fixture
def leases(engine: ExtendedAsyncSAEngine) -> LeaseRepository:
    return LeaseRepository(LeaseDBSource(engine))


@pytest.fixture
async def owner_connection(database: Database, shared_database: SharedDatabase) -> DriverConnection:
    """A connection of the tables' owner."""
    return await shared_database.owner_connection()
