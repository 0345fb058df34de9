"""A cluster of three sessions, read and written by way of a proxy."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DriverConnection
from tests.support.on_a_server import AGENT
from tests.support.shared_databases import SharedDatabase
from tests.support.small_cluster import agent, cluster, session
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import WireProxy, proxied


@pytest.fixture
async def database(shared_database: SharedDatabase) -> Database:
    """A database with one agent and three sessions that fit it."""
    await ClusterRepository(ClusterDBSource(shared_database.engine)).load_cluster(
        cluster([agent(AGENT)], [session(number, 2) for number in range(3)])
    )
    return shared_database.database


@pytest.fixture
async def proxy(database: Database) -> AsyncIterator[WireProxy]:
    """A proxy before it."""
    async with proxied(database.url_as(SCHEDULER)) as running:
        yield running


@pytest.fixture
async def engine(proxy: WireProxy) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine by way of the proxy, whose bounds no test waits for."""
    settings = DatabaseSettings(
        url=SecretUrl(proxy.url), pool_size=2, pool_timeout=PATIENCE, lock_timeout=PATIENCE
    )
    made = create_engine(settings)
    yield made
    await made.dispose()


@pytest.fixture
async def owner_connection(database: Database) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner, not by way of the proxy."""
    async with database.driver_as(OWNER) as connection:
        yield connection


@pytest.fixture
async def admin_connection(database: Database) -> AsyncIterator[DriverConnection]:
    """A superuser's connection."""
    async with database.driver_as(ADMIN) as connection:
        yield connection
