"""A cluster of three sessions, written to by way of a proxy."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DriverConnection
from tests.support.fixtures import MakeEngine
from tests.support.on_a_server import AGENT
from tests.support.shared_databases import SharedDatabase
from tests.support.small_cluster import agent, cluster, session
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
async def make_engine(proxy: WireProxy) -> AsyncIterator[MakeEngine]:
    """Makes engines by way of the proxy, with bounds (seconds) as the test wants them."""
    made: list[ExtendedAsyncSAEngine] = []

    def make(**bounds: float) -> ExtendedAsyncSAEngine:
        settings = DatabaseSettings(url=SecretUrl(proxy.url))
        made.append(create_engine(msgspec.structs.replace(settings, **bounds)))
        return made[-1]

    yield make
    for engine in made:
        await engine.dispose()


@pytest.fixture
def scheduler(make_engine: MakeEngine) -> SchedulerRepository:
    """By way of the proxy."""
    return SchedulerRepository(SchedulerDBSource(make_engine()))


@pytest.fixture
def lifecycle(make_engine: MakeEngine) -> LifecycleRepository:
    """By way of the proxy."""
    return LifecycleRepository(LifecycleDBSource(make_engine()))


@pytest.fixture
async def owner_connection(database: Database) -> AsyncIterator[DriverConnection]:
    """A connection of the tables' owner, not by way of the proxy."""
    async with database.driver_as(OWNER) as connection:
        yield connection


@pytest.fixture
async def admin_connection(database: Database) -> AsyncIterator[DriverConnection]:
    """A superuser's connection, which sees what the others wait for."""
    async with database.driver_as(ADMIN) as connection:
        yield connection
