"""No agent is overcommitted and no quota exceeded, whoever writes at the same time."""

import asyncio
from collections.abc import Callable
from random import Random

import msgspec
import pytest

from scheduler_repo.database import locked_state
from scheduler_repo.database.locks import LOCK_QUOTAS
from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.allocation import RejectionCode, SessionAllocation
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import OwnerScope
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.overcommitment import OVERCOMMITTED
from tests.support.small_cluster import (
    CPU,
    GROUP,
    OWNER_IDS,
    Ledger,
    agent,
    cluster,
    held_on,
    ledger_of,
    place,
    session,
)

RACERS = 4
AGENTS = tuple(f"agent-{number}" for number in range(5))
CAPACITY = 10
SESSIONS = 60
CAPACITY_ROUNDS = 8
QUOTA_ROUNDS = 3
# Without the lock it is nearly always the first.
MOST_ROUNDS = 20
QUOTA = CAPACITY

# The sums over the kernels themselves, whatever the counters say.
HELD = """
SELECT coalesce(sum(occupied_slots[1]), 0)::bigint FROM kernels
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
"""


# Says what a racer, by its number, wants to place.
Plan = Callable[[int], list[SessionAllocation]]


class Seen(msgspec.Struct):
    """What came of the rounds; ``most_held`` is the most cores that ran at the end of one."""

    placed: int = 0
    rejected: int = 0
    most_held: int = 0


async def queue_again(connection: DriverConnection) -> None:
    """Let every session that has ended wait once more."""
    await connection.execute("UPDATE sessions SET status = 'PENDING', result = NULL")
    await connection.execute("UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}'")


async def run_rounds(
    scheduler: SchedulerRepository,
    lifecycle: LifecycleRepository,
    connection: DriverConnection,
    rounds: int,
    plan: Plan,
) -> Seen:
    """In each round every racer places its plan at once with the others; then all that was placed ends."""
    seen = Seen()
    for _ in range(rounds):
        results = await asyncio.gather(
            *(scheduler.allocate_sessions(GROUP, plan(racer)) for racer in range(RACERS))
        )
        placed = [session_id for result in results for session_id in result.allocated]
        assert len(set(placed)) == len(placed)
        seen.placed += len(placed)
        seen.rejected += sum(len(result.rejected) for result in results)
        seen.most_held = max(seen.most_held, await connection.fetchval(HELD))
        ends = [SessionEnd(session_id) for session_id in placed]
        # Each by two at once, in unlike orders: one of them ends it.
        releases = await asyncio.gather(
            *(lifecycle.mark_terminated(ends[racer::2]) for racer in range(2)),
            *(lifecycle.mark_terminated(ends[::-1][racer::2]) for racer in range(2)),
        )
        assert sum(len(release.changed) for release in releases) == len(placed)
        await queue_again(connection)
    return seen


class TestNewQuota:
    async def test_a_quota_that_is_made_while_a_batch_waits_is_kept(
        self,
        load: Load,
        migrated_database: Database,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given two batches that wait, each for an agent of its own, when nobody has a quota
        await load(cluster([agent("a1"), agent("a2")], [session(1, 8), session(2, 8)]))
        async with migrated_database.driver_as(OWNER) as holder:
            async with holder.transaction():
                await holder.execute("SELECT FROM agents FOR NO KEY UPDATE")
                batches = [
                    asyncio.create_task(scheduler.allocate_sessions(GROUP, [place(number, f"a{number}")]))
                    for number in (1, 2)
                ]
                waiting = (
                    "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)"
                    " WHERE NOT l.granted AND a.datname = current_database()"
                )
                while await owner_connection.fetchval(waiting) < 2:
                    await asyncio.wait(batches, timeout=0.01)
                # when a quota is made that lets one of them in
                await owner_connection.execute(
                    "INSERT INTO quotas (scope, owner_id, slot_limits) VALUES ('USER', $1, '{8}')",
                    OWNER_IDS[OwnerScope.USER],
                )
            results = await asyncio.gather(*batches)
        # then one is, and the other is told why not
        assert sorted(len(result.allocated) for result in results) == [0, 1]
        assert [each.code for result in results for each in result.rejected] == [RejectionCode.OWNER_LIMIT]
        assert await owner_connection.fetchval(HELD) == 8


class TestCapacity:
    async def test_agents_are_never_overcommitted(
        self,
        load: Load,
        migrated_database: Database,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        rng = Random(7)  # noqa: S311 - a workload, not a secret
        agents = [agent(name, cpu=CAPACITY) for name in AGENTS]
        cores = [[rng.randint(1, 4) for _ in range(1 + number % 2)] for number in range(SESSIONS)]
        await load(cluster(agents, [session(number, *cores[number]) for number in range(SESSIONS)]))

        def plan(racer: int) -> list[SessionAllocation]:
            numbers = rng.sample(range(SESSIONS), SESSIONS // 2)
            return [place(number, *rng.choices(AGENTS, k=1 + number % 2)) for number in numbers]

        watching = True
        samples = overcommitted = 0

        async def watch() -> None:
            nonlocal samples, overcommitted
            async with migrated_database.driver_as(OWNER) as connection:
                while watching:
                    overcommitted += await connection.fetchval(OVERCOMMITTED)
                    samples += 1

        # when
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            seen = await run_rounds(scheduler, lifecycle, owner_connection, CAPACITY_ROUNDS, plan)
            watching = False
        # then
        assert overcommitted == 0
        assert samples > 0
        assert CAPACITY < seen.most_held <= len(AGENTS) * CAPACITY
        assert seen.placed > CAPACITY_ROUNDS * RACERS
        assert seen.rejected > CAPACITY_ROUNDS * RACERS
        for name in AGENTS:
            ledger = await ledger_of(owner_connection, name)
            assert ledger == await held_on(owner_connection, name) == Ledger(0, 0, 0)


class TestQuotas:
    """Every racer has agents and sessions of its own: only the owner is shared."""

    def plan(self, racer: int) -> list[SessionAllocation]:
        return [place(number, AGENTS[racer]) for number in range(racer, SESSIONS, RACERS)][:QUOTA]

    @pytest.fixture(params=list(OwnerScope))
    async def owner_with_quota(self, request: pytest.FixtureRequest, load: Load) -> None:
        quota = QuotaSpec(scope=request.param, owner_id=OWNER_IDS[request.param], slot_limits={CPU: QUOTA})
        agents = [agent(name, cpu=CAPACITY) for name in AGENTS]
        await load(cluster(agents, [session(number, 1) for number in range(SESSIONS)], [quota]))

    async def test_never_exceeded(
        self,
        owner_with_quota: None,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # when
        seen = await run_rounds(scheduler, lifecycle, owner_connection, QUOTA_ROUNDS, self.plan)
        # then
        assert seen.most_held == QUOTA
        assert seen.placed == QUOTA_ROUNDS * QUOTA

    async def test_exceeded_without_the_lock_on_the_owners_row(
        self,
        owner_with_quota: None,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        # given
        text = LOCK_QUOTAS.text.replace("FOR NO KEY UPDATE", "")
        assert text != LOCK_QUOTAS.text
        monkeypatch.setattr(locked_state, "LOCK_QUOTAS", Statement("lock_no_quotas", text))
        # when
        for _ in range(MOST_ROUNDS):
            seen = await run_rounds(scheduler, lifecycle, owner_connection, 1, self.plan)
            if seen.most_held > QUOTA:
                break
        # then
        assert seen.most_held > QUOTA
