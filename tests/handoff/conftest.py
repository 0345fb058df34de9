"""A cluster of two agents and a queue of sessions with a kernel for each."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from tests.handoff.agents import AGENTS, SESSIONS, Agents, Dispatcher
from tests.support.databases import Database
from tests.support.small_cluster import agent, cluster, session


@pytest.fixture
async def database(migrated_database: Database, engine: ExtendedAsyncSAEngine) -> Database:
    """The database, with the cluster in it."""
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(
        cluster(
            [agent(name, cpu=SESSIONS) for name in AGENTS],
            [session(number, 1, 1) for number in range(SESSIONS)],
        )
    )
    return migrated_database


@pytest.fixture
def agents() -> Agents:
    return Agents()


@pytest.fixture
def dispatcher(database: Database, engine: ExtendedAsyncSAEngine, agents: Agents) -> Dispatcher:
    """One that is not killed."""
    assert database.name
    return Dispatcher(engine, agents)
