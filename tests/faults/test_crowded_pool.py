"""Two hundred callers on five connections, a third of them cancelled: nothing leaks, is stale or is lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import DatabaseTimeout
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.resilience.layers import LayerType
from scheduler_repo.resilience.policies.metrics import DomainType
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import SessionStatus
from tests.faults.crowd import Crowd
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.figures import LayerFigures
from tests.support.small_cluster import GROUP, agent, cluster
from tests.support.waiting import PATIENCE

POOL_SIZE = 5
CALLERS = 200
OTHERS_IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND state <> 'idle'
"""
CONNECTIONS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'crowd'"
)


class TestCrowdedPool:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        settings = DatabaseSettings(url=url, application_name="crowd", pool_size=POOL_SIZE, pool_timeout=60.0)
        engine = create_engine(settings)
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("a1")], []))
        yield engine
        await engine.dispose()

    @pytest.mark.parametrize("seconds", [1.0, pytest.param(20.0, marks=pytest.mark.slow)])
    async def test_leaks_and_loses_nothing(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database, seconds: float
    ) -> None:
        # given
        crowd = Crowd(engine, seed=4)
        # when
        await crowd.run(CALLERS, seconds)
        # then it was a crowd, and no call read an older snapshot than one before it
        told = crowd.told
        assert told.calls > CALLERS
        assert told.cancelled_calls > told.calls // 10
        assert told.not_yet_seen == []
        assert told.still_seen == []
        # and no write that was told of is lost, none half made
        async with migrated_database.driver_as(OWNER) as owner:
            rows = await owner.fetch("SELECT id, status FROM sessions")
            statuses = {row["id"]: row["status"] for row in rows}
            assert told.enqueued <= statuses.keys()
            assert {statuses[session_id] for session_id in told.ended} == {SessionStatus.CANCELLED}
            assert (await AuditRepository(AuditDBSource(engine)).audit()).findings == ()
            # and no connection is in a transaction, or lost to the pool
            assert await owner.fetchval(OTHERS_IN_TRANSACTION) == 0
            assert await owner.fetchval(CONNECTIONS) <= POOL_SIZE
        async with AsyncExitStack() as stack, asyncio.timeout(PATIENCE):
            for _ in range(POOL_SIZE):
                db_sess = await stack.enter_async_context(engine.begin_readonly_session())
                assert await driver_connection(db_sess).fetchval("SELECT 1") == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}


class TestFullPool:
    """A wait for a connection that is over is not begun again."""

    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=1, pool_timeout=0.1))
        yield engine
        await engine.dispose()

    async def test_is_waited_for_once(self, engine: ExtendedAsyncSAEngine) -> None:
        # given
        figures = LayerFigures(LayerType.SCHEDULER_DB_SOURCE, DomainType.REPOSITORY)
        retries = figures.retries("get_scheduling_data")
        async with engine.begin_readonly_session():
            # when
            with pytest.raises(DatabaseTimeout):
                await SchedulerDBSource(engine).get_scheduling_data(GROUP)
        # then
        assert figures.retries("get_scheduling_data") == retries
