"""The work of a scheduler by way of a PgBouncer in transaction mode, from the schema to the audit."""

import asyncio
import random
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.schema.upgrade import check_schema, upgrade_schema
from scheduler_repo.database.schema.version import head_revision
from scheduler_repo.entities.lifecycle import SessionAttempt, SessionEnd, SessionStart
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.errors import StaleLeaseError
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import LeaseHolder, OperationId
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database
from tests.support.fixtures import MakeEngine
from tests.support.interruptions import assert_nothing_open
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id

CALLERS: Final = 50
CALLS_OF_EACH: Final = 12
TTL: Final = timedelta(seconds=30)


class TestSchema:
    async def test_it_is_made_and_checked(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, empty_database: Database
    ) -> None:
        idle_bouncer.start(follows_statements=False)
        engine = make_engine(idle_bouncer.url_of(empty_database.url_as(OWNER)))
        async with engine.connect() as connection:
            assert (await upgrade_schema(connection)).to_revision == head_revision()
            assert await check_schema(connection) == ()


class TestScheduler:
    @pytest.fixture
    async def engine(self, bouncer: Bouncer, make_engine: MakeEngine) -> ExtendedAsyncSAEngine:
        """By way of the PgBouncer, through which the cluster was loaded, by COPY."""
        engine = make_engine()
        queue = [session(number, 1) for number in range(6)]
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster([agent("agent")], queue))
        return engine

    async def test_what_a_tracker_holds_is_compared_with_a_full_read(
        self, engine: ExtendedAsyncSAEngine
    ) -> None:
        tracker = SnapshotTracker(SchedulerDBSource(engine))
        await tracker.get_scheduling_data(GROUP)
        await SessionRepository(SessionDBSource(engine)).enqueue_sessions([session(7, 1)])
        assert (await tracker.compare(GROUP)).outcome is ComparisonOutcome.EQUAL

    async def test_sessions_live_from_the_queue_to_their_end(self, engine: ExtendedAsyncSAEngine) -> None:
        scheduler = SchedulerRepository(SchedulerDBSource(engine))
        lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        # Given another session in the queue, asked for twice under one id
        operation = OperationId(uuid4())
        enqueue = SessionRepository(SessionDBSource(engine)).enqueue_sessions
        enqueued = [await enqueue([session(6, 1, 1)], operation_id=operation) for _ in range(2)]
        assert enqueued[0] == enqueued[1]
        # When it goes all the way, under a lease
        leases = LeaseRepository(LeaseDBSource(engine))
        lease = await leases.acquire_lease(GROUP, LeaseHolder("one"), TTL)
        placed = [place(6, "agent", "agent")]
        assert (await scheduler.allocate_sessions(GROUP, placed, lease=lease)).allocated == (session_id(6),)
        attempts = [SessionAttempt(session_id(6), 0)]
        await lifecycle.mark_dispatched(attempts)
        await lifecycle.mark_preparing(attempts)
        await lifecycle.mark_running([SessionStart(session_id(6))])
        ended = await lifecycle.mark_terminated([SessionEnd(session_id(6))])
        # Then it has ended, a lease that was given back is stale, and the audit finds nothing
        assert ended.changed == (session_id(6),)
        await leases.release_lease(lease)
        with pytest.raises(StaleLeaseError):
            await scheduler.allocate_sessions(GROUP, [place(0, "agent")], lease=lease)
        assert (await AuditRepository(AuditDBSource(engine)).audit()).findings == ()

    async def test_a_read_is_what_it_is_without_a_pooler(
        self, engine: ExtendedAsyncSAEngine, make_engine: MakeEngine, migrated_database: Database
    ) -> None:
        direct = make_engine(migrated_database.url_as(SCHEDULER), None)
        pooled_data, direct_data = [
            await SchedulerRepository(SchedulerDBSource(each)).get_scheduling_data(GROUP)
            for each in (engine, direct)
        ]
        assert len(pooled_data.pending_sessions) == 6
        assert pooled_data.pending_sessions == direct_data.pending_sessions
        assert pooled_data.agents == direct_data.agents

    async def test_the_loop_places_what_fits(self, engine: ExtendedAsyncSAEngine) -> None:
        repository = SchedulerRepository(SchedulerDBSource(engine))
        ticks = await SchedulerLoop(repository, BestFitPlanner(), GROUP).run_until_settled()
        assert sum(len(tick.allocated) for tick in ticks) == 6


class TestManyCallers:
    """50 callers on two server connections, of whom many are cancelled somewhere."""

    @pytest.fixture
    def database_behind(self, notes: Database) -> Database:
        return notes

    async def test_each_finds_its_own(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, notes: Database
    ) -> None:
        # Given two engines, as of two processes, with more connections than the PgBouncer has to the server
        idle_bouncer.start(follows_statements=False)
        engines = [make_engine(pool_size=10, pool_timeout=30.0) for _ in range(2)]
        chance = random.Random(7)  # noqa: S311 - the same every time
        told: dict[int, int] = {}
        wrong: list[tuple[int, object]] = []
        cancelled = 0

        async def call(number: int) -> None:
            async with engines[number % 2].begin_session() as db_sess:
                driver = driver_connection(db_sess)
                await driver.execute("INSERT INTO notes VALUES ($1, $2)", number, str(number))
                # A text of its own: who is given another's statement is found out.
                found = await driver.fetchval(f"SELECT words || '{number}' FROM notes WHERE id = $1", number)
                if found != f"{number}{number}":
                    wrong.append((number, found))
            told[number] = number

        async def caller(first: int) -> None:
            nonlocal cancelled
            for number in range(first, first + CALLS_OF_EACH):
                task = asyncio.create_task(call(number))
                if chance.random() < 0.4:
                    # Anywhere in the call, by the turns of the event loop.
                    for _ in range(chance.randrange(60)):
                        await asyncio.sleep(0)
                    task.cancel()
                (outcome,) = await asyncio.gather(task, return_exceptions=True)
                if isinstance(outcome, asyncio.CancelledError):
                    cancelled += 1
                elif outcome is not None:
                    wrong.append((number, outcome))

        # When they call, and many are cancelled
        await asyncio.gather(*(caller(index * CALLS_OF_EACH) for index in range(CALLERS)))
        # Then nobody had another's answer, all that was told is there, nothing is open and nobody waits
        assert wrong == []
        assert cancelled > CALLERS
        await assert_nothing_open(notes)
        async with notes.driver_as(ADMIN) as admin:
            written = {row["id"] for row in await admin.fetch("SELECT id FROM notes")}
        assert told.keys() <= written
        assert len(written) <= len(told) + cancelled
        for engine in engines:
            assert (engine.connections_in_use, engine.callers_waiting) == (0, 0)
