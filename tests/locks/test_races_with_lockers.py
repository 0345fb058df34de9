"""Schedulers race while other clients hold random rows for longer than a batch waits."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from random import Random
from typing import Final

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry, SessionStart, TransitionResult
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import SessionId
from tests.races.arena import AGENTS, GROUPS, arena
from tests.races.checks import BREACHED, BROKEN_CHAINS, OVERCOMMITTED
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
from tests.support.waiting import PATIENCE

SCHEDULERS: Final = 4
LOCKERS: Final = 3
BATCH_LOCK_TIMEOUT: Final = 0.2
LONGEST_HOLD: Final = 1.0
SECONDS: Final = 60
SHORT_SECONDS: Final = 1.5
# A race in which too little has happened goes on, for so long at most.
MOST_SECONDS: Final = 120
# Rows of all kinds that a write needs, some of several at once; none is waited for, so that two lockers cannot
# deadlock with a writer that waits for both.
TABLES: Final = {
    "sessions": "status IN ('PENDING', 'SCHEDULED', 'RUNNING')",
    "kernels": "status IN ('PENDING', 'SCHEDULED', 'RUNNING')",
    "agents": "true",
    "agent_slots": "true",
    "agent_heartbeats": "true",
    "quotas": "scope = 'ACCESS_KEY'",
}
DEADLOCKS: Final = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"


class Race:
    """What all share: the end, the repositories, and what was counted."""

    def __init__(
        self, engine: ExtendedAsyncSAEngine, seconds: float, is_enough: Callable[[Counter[str]], bool]
    ) -> None:
        self._end = asyncio.get_running_loop().time() + seconds
        self._is_enough = is_enough
        self.scheduler = SchedulerRepository(SchedulerDBSource(engine))
        self.lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        self.agents = AgentRepository(AgentDBSource(engine))
        self.counts = Counter[str]()

    @property
    def seconds_left(self) -> float:
        left = self._end - asyncio.get_running_loop().time()
        return max(left if self._is_enough(self.counts) else left + MOST_SECONDS, 0.0)

    @property
    def is_on(self) -> bool:
        return self.seconds_left > 0

    async def schedule(self, number: int) -> None:
        """Place, run and end sessions of one group, and hear of its agents."""
        rng, group = Random(number), GROUPS[number % len(GROUPS)]  # noqa: S311 - a workload
        planner = BestFitPlanner(max_allocations=30)
        while self.is_on:
            data = await self.scheduler.get_scheduling_data(group)
            plan = await asyncio.to_thread(planner.plan, data)
            result = await self.scheduler.allocate_sessions(group, plan)
            self.counts["allocated"] += len(result.allocated)
            self.counts.update(f"allocate: {each.code}" for each in result.rejected)
            placed = list(result.allocated)
            await self.note("preparing", self.lifecycle.mark_preparing(placed))
            await self.note("running", self.lifecycle.mark_running([*map(SessionStart, placed)]))
            again = [each for each in placed if rng.random() < 0.3]
            await self.note("requeue", self.lifecycle.requeue_sessions([*map(SessionRetry, again)]))
            await self.end_all([each for each in placed if each not in again])
            heard = await self.agents.record_heartbeats(AGENTS[group])
            self.counts["heard"] += len(heard.recorded)
            self.counts.update(f"heartbeat: {each.code}" for each in heard.rejected)

    async def end_all(self, session_ids: Sequence[SessionId]) -> None:
        """End sessions, those left for later once more, as a caller does."""
        left = session_ids
        while left and self.is_on:
            ended = await self.note("end", self.lifecycle.mark_terminated([*map(SessionEnd, left)]))
            left = [each.session_id for each in ended.rejected if each.code == "ROW_LOCKED"]

    async def note(self, name: str, call: Awaitable[TransitionResult]) -> TransitionResult:
        result = await call
        self.counts[name] += len(result.changed)
        self.counts.update(f"{name}: {each.code}" for each in result.rejected)
        return result

    async def lock(self, number: int, connection: DriverConnection) -> None:
        """Hold a few rows at random for a while, again and again."""
        rng = Random(100 + number)  # noqa: S311 - a workload
        while self.is_on:
            async with connection.transaction():
                for table in rng.sample(sorted(TABLES), rng.randint(1, 2)):
                    strength = rng.choice(("UPDATE", "NO KEY UPDATE", "SHARE"))
                    rows = await connection.fetch(
                        f"SELECT FROM {table} WHERE {TABLES[table]} ORDER BY random() LIMIT {rng.randint(1, 3)}"
                        f" FOR {strength} SKIP LOCKED"
                    )
                    self.counts["held"] += len(rows)
                # It is what a slow client does; nothing waits for it here.
                await asyncio.sleep(min(rng.uniform(0.0, LONGEST_HOLD), self.seconds_left))


class TestRaces:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(
            DatabaseSettings(
                url=SecretUrl(migrated_database.url_as(SCHEDULER)),
                pool_size=SCHEDULERS,
                pool_timeout=PATIENCE,
                lock_timeout=PATIENCE,
                batch_lock_timeout=BATCH_LOCK_TIMEOUT,
            )
        )
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(arena())
        yield engine
        await engine.dispose()

    @pytest.mark.slow
    @pytest.mark.timeout(240)
    async def test_for_a_minute(self, engine: ExtendedAsyncSAEngine, migrated_database: Database) -> None:
        def is_enough(counts: Counter[str]) -> bool:
            locked = [counts[f"{each}: ROW_LOCKED"] for each in ("end", "heartbeat")]
            return min(counts["allocated"] - 100, counts["allocate: ROW_LOCKED"] - 10, *locked) > 0

        assert is_enough(await self.race(engine, migrated_database, SECONDS, is_enough))

    async def test_for_a_moment(self, engine: ExtendedAsyncSAEngine, migrated_database: Database) -> None:
        counts = await self.race(
            engine, migrated_database, SHORT_SECONDS, lambda counts: counts["allocated"] > 0
        )
        assert counts["allocated"] > 0

    async def race(
        self,
        engine: ExtendedAsyncSAEngine,
        database: Database,
        seconds: float,
        is_enough: Callable[[Counter[str]], bool],
    ) -> Counter[str]:
        race = Race(engine, seconds, is_enough)
        async with database.driver_as(OWNER) as observer:
            before = await observer.fetchval(DEADLOCKS)
            async with asyncio.TaskGroup() as tasks:
                for number in range(SCHEDULERS):
                    tasks.create_task(race.schedule(number))
                for number in range(LOCKERS):
                    tasks.create_task(self.lock(race, number, database))
            # then
            await observer.execute("SELECT pg_stat_clear_snapshot()")
            assert await observer.fetchval(DEADLOCKS) == before
            assert await observer.fetchval(OVERCOMMITTED) == 0
            assert await observer.fetchval(BREACHED) == 0
            assert await observer.fetchval(BROKEN_CHAINS) == 0
        report = await AuditRepository(AuditDBSource(engine)).audit()
        assert report.findings == ()
        return race.counts

    async def lock(self, race: Race, number: int, database: Database) -> None:
        async with database.driver_as(OWNER) as connection:
            await race.lock(number, connection)
