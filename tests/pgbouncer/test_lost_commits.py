"""A COMMIT whose answer is lost at the PgBouncer: resolved under its operation id, done once."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import OperationId
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.fixtures import MakeEngine
from tests.support.small_cluster import (
    GROUP,
    agent,
    cluster,
    held_on,
    history_of,
    ledger_of,
    place,
    session,
    session_id,
)
from tests.support.wire_proxy import Point, Side, WireProxy, proxied


class TestLostCommit:
    @pytest.fixture
    async def server_proxy(self, migrated_database: Database) -> AsyncIterator[WireProxy]:
        """Between the PgBouncer and the server."""
        async with proxied(migrated_database.url_as(SCHEDULER)) as proxy:
            yield proxy

    @pytest.fixture
    async def client_proxy(
        self, idle_bouncer: Bouncer, server_proxy: WireProxy, migrated_database: Database
    ) -> AsyncIterator[WireProxy]:
        """Between the engine and the PgBouncer, which runs from here on."""
        idle_bouncer.stand_before(server_proxy.url)
        idle_bouncer.start()
        async with proxied(idle_bouncer.url_of(migrated_database.url_as(SCHEDULER))) as proxy:
            yield proxy

    @pytest.fixture
    async def engine(self, client_proxy: WireProxy, make_engine: MakeEngine) -> ExtendedAsyncSAEngine:
        engine = make_engine(client_proxy.url)
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(
            cluster([agent("agent")], [session(0, 2)])
        )
        return engine

    @pytest.mark.parametrize(
        ("lost_at", "side"),
        [
            ("client", Side.ANSWER),
            ("server", Side.REQUEST),
            ("server", Side.ANSWER),
            ("killed", Side.ANSWER),
        ],
    )
    async def test_it_is_done_once_and_its_caller_told(
        self,
        engine: ExtendedAsyncSAEngine,
        client_proxy: WireProxy,
        server_proxy: WireProxy,
        idle_bouncer: Bouncer,
        migrated_database: Database,
        side: Side,
        lost_at: str,
    ) -> None:
        # Given an allocation whose COMMIT, or its answer, is held up
        hold = (client_proxy if lost_at == "client" else server_proxy).hold(Point.COMMIT, side)
        operation = OperationId(uuid4())
        scheduler = SchedulerRepository(SchedulerDBSource(engine))
        call = asyncio.create_task(
            scheduler.allocate_sessions(GROUP, [place(0, "agent")], operation_id=operation)
        )
        await hold.reached(call)
        # When the connection is lost there, or the PgBouncer dies and comes back
        if lost_at == "killed":
            idle_bouncer.kill()
            idle_bouncer.start()
        hold.drop()
        # Then the caller is told that it is allocated, as it is, once
        result = await call
        assert result.allocated == (session_id(0),)
        assert await scheduler.allocate_sessions(GROUP, [place(0, "agent")], operation_id=operation) == result
        async with migrated_database.driver_as(ADMIN) as admin:
            assert await history_of(admin, 0) == [(None, "PENDING"), ("PENDING", "SCHEDULED")]
            assert await ledger_of(admin, "agent") == await held_on(admin, "agent")
