"""A cluster of two agents and a queue of sessions with a kernel for each."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.handoff.agents import AGENTS, SESSIONS, Agents, Dispatcher
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.small_cluster import agent, cluster, session


@pytest.fixture
async def engine(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """The engine of a dispatcher."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
    yield engine
    await engine.dispose()


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
async def owner_connection(database: Database) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner."""
    async with database.driver_as(OWNER) as connection:
        yield connection


@pytest.fixture
def agents() -> Agents:
    return Agents()


@pytest.fixture
def dispatcher(database: Database, engine: ExtendedAsyncSAEngine, agents: Agents) -> Dispatcher:
    """One that is not killed."""
    assert database.name
    return Dispatcher(engine, agents)
