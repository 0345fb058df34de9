"""Whoever reserves, places, ends and requeues at the same time: nothing is overcommitted or promised twice."""

import asyncio
from collections.abc import Sequence
from random import Random

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry
from scheduler_repo.entities.reservation import SessionReservation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.repositories.audit.db_source import AuditDBSource
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.rules.preemption import preemptible
from scheduler_repo.types import AgentId, SessionId, SessionStatus
from tests.lifecycle.marking import mark
from tests.reservation.contest import OVERPROMISED, Contest, important
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.lives import leaks
from tests.support.overcommitment import OVERCOMMITTED
from tests.support.small_cluster import GROUP, agent, session

RACERS = 4
TURNS = 25
# The race goes on until all of it has happened.
MOST_TURNS = 1_000
AGENTS = tuple(AgentId(f"agent-{number}") for number in range(4))
SESSIONS = 40
OF_STATUS = "SELECT id FROM sessions WHERE status = $1 ORDER BY id"


class Seen(msgspec.Struct):
    """What came of the turns of all racers."""

    allocated: int = 0
    not_allocated: int = 0
    reserved: int = 0
    not_reserved: int = 0
    requeued: int = 0
    most_held: int = 0

    @property
    def is_a_race(self) -> bool:
        """Whether each of it has happened, else the race has shown nothing."""
        least = min(self.allocated, self.not_allocated, self.reserved, self.not_reserved, self.requeued)
        return least > 20 and self.most_held > 3


class Racer:
    """Places, reserves or ends something at each turn, by what it read just before."""

    def __init__(self, contest: Contest, connection: DriverConnection, seed: int, seen: Seen) -> None:
        self.contest = contest
        self.connection = connection
        self.random = Random(seed)  # noqa: S311 - a workload, not a secret
        self.seen = seen

    async def race(self) -> None:
        for turn in range(MOST_TURNS):
            if turn >= TURNS and self.seen.is_a_race:
                break
            data = await self.contest.read()
            self.seen.most_held = max(self.seen.most_held, len(data.reservations))
            action = self.random.choice((self.place, self.reserve, self.reserve, self.end))
            await action(data)

    async def place(self, data: SchedulingData) -> None:
        """Place what a tick would, in any order, and have it run."""
        plan = list(BestFitPlanner().plan(data))
        self.random.shuffle(plan)
        result = await self.contest.allocate(*plan)
        self.seen.allocated += len(result.allocated)
        self.seen.not_allocated += len(result.rejected)
        for status in (SessionStatus.PREPARING, SessionStatus.RUNNING):
            await self.change(status, result.allocated)

    async def reserve(self, data: SchedulingData) -> None:
        """Hold places for some that wait, with victims that may be too few, or taken by others meanwhile."""
        waiting = data.pending_sessions
        batch = [self.reservation(each, data) for each in self.random.sample(waiting, min(3, len(waiting)))]
        result = await self.contest.reserve(*batch)
        self.seen.reserved += len(result.reserved)
        self.seen.not_reserved += len(result.rejected)

    async def end(self, data: SchedulingData) -> None:
        """Have some that run end, and put some that have ended into the queue again."""
        await self.change(SessionStatus.TERMINATING, await self.some(SessionStatus.RUNNING, 8))
        retries = [SessionRetry(each) for each in await self.some(SessionStatus.TERMINATING, 2)]
        requeued = await self.contest.lifecycle.requeue_sessions(retries)
        self.seen.requeued += len(requeued.changed)

    def reservation(self, session: PendingSession, data: SchedulingData) -> SessionReservation:
        candidates = preemptible(session, data)
        victims = self.random.sample(candidates, min(self.random.randrange(4), len(candidates)))
        agent_ids = [gain.agent_id for victim in victims for gain in victim.gains] or AGENTS
        kernels = tuple(
            KernelAllocation(kernel.kernel_id, self.random.choice(agent_ids)) for kernel in session.kernels
        )
        return SessionReservation(session.session_id, kernels, tuple(each.session_id for each in victims))

    async def some(self, status: SessionStatus, part: int) -> list[SessionId]:
        """One of so many sessions with a status, at random."""
        found = [row["id"] for row in await self.connection.fetch(OF_STATUS, status.value)]
        return self.random.sample(found, -(-len(found) // part))

    async def change(self, status: SessionStatus, session_ids: Sequence[SessionId]) -> None:
        await mark(self.contest.lifecycle, status, session_ids)


class TestRaces:
    async def test_four_at_once(
        self,
        contest: Contest,
        engine: ExtendedAsyncSAEngine,
        migrated_database: Database,
    ) -> None:
        # given
        rng = Random(11)  # noqa: S311 - a workload, not a secret
        sessions = [
            important(session(number, *[rng.randint(1, 4) for _ in range(1 + number % 2)]), rng.randrange(9))
            for number in range(SESSIONS)
        ]
        await contest.given([agent(name) for name in AGENTS], sessions, {})
        seen = Seen()
        watching = True
        samples = wrong = 0

        async def watch() -> None:
            nonlocal samples, wrong
            async with migrated_database.driver_as(OWNER) as connection:
                while watching:
                    wrong += await connection.fetchval(OVERCOMMITTED)
                    wrong += await connection.fetchval(OVERPROMISED)
                    samples += 1

        async def race(seed: int) -> None:
            async with migrated_database.driver_as(OWNER) as connection:
                await Racer(contest, connection, seed, seen).race()

        # when
        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await asyncio.gather(*(race(seed) for seed in range(RACERS)))
            watching = False
        # then
        assert wrong == 0
        assert samples > 0
        assert await contest.scheduler.count_overcommitted_agents(GROUP) == 0
        assert await leaks(contest.connection) == []
        assert (await AuditRepository(AuditDBSource(engine)).audit()).findings == ()
        assert seen.is_a_race, seen
        # when: nothing more is started, and all that ends has ended
        ending = await contest.connection.fetch(OF_STATUS, SessionStatus.TERMINATING.value)
        ended = [SessionEnd(row["id"]) for row in ending]
        await contest.lifecycle.mark_terminated(ended)
        # then: everyone who holds can be placed at once
        held = await contest.holders()
        plan = BestFitPlanner(len(held)).plan(await contest.read())
        assert [each.session_id for each in plan] == held
        assert (await contest.allocate(*plan)).rejected == ()
        assert await contest.holders() == []
