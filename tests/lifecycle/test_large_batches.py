"""A batch of 50,000, of which 1,000 are there, is answered one by one in one transaction."""

from typing import Final
from uuid import UUID

import pytest

from scheduler_repo.entities.allocation import KernelAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.lifecycle import SessionAttempt, SessionStart, TransitionRejectionCode
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, KernelId, SessionId, SessionStatus
from tests.lifecycle.marking import mark
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.lives import leaks
from tests.support.small_cluster import CPU, GROUP, agent, cluster, kernel_id, place, session, session_id

REAL: Final = 1_000
BATCH: Final = 50_000
AGENTS: Final = 20

REAL_IDS: Final = [session_id(number) for number in range(REAL)]
STRANGERS: Final = [SessionId(UUID(int=2**100 + number)) for number in range(BATCH - REAL)]


def spread(strangers: list[SessionId]) -> list[SessionId]:
    """The real ones, evenly among the others."""
    step = BATCH // REAL - 1
    mixed: list[SessionId] = []
    for position, real in enumerate(REAL_IDS):
        mixed.extend((*strangers[position * step : (position + 1) * step], real))
    return mixed


MIXED: Final = spread(STRANGERS)


@pytest.mark.slow
class TestLargeBatches:
    async def test_a_whole_life(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        repository: LifecycleRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        agents = [agent(f"a{number}", cpu=REAL, mem=REAL) for number in range(AGENTS)]
        await load(cluster(agents, [session(number, 2, 1) for number in range(REAL)]))
        places = {
            session_id(number): place(number, f"a{number % AGENTS}", f"a{(number + 1) % AGENTS}")
            for number in range(REAL)
        }
        lost = (KernelAllocation(KernelId(UUID(int=7)), AgentId("a0")),)
        # when
        placed = await scheduler.allocate_sessions(
            GROUP, [places.get(each) or SessionAllocation(each, lost) for each in MIXED]
        )
        # then
        assert placed.allocated == tuple(REAL_IDS)
        assert [each.session_id for each in placed.rejected] == STRANGERS
        assert {each.code for each in placed.rejected} == {RejectionCode.SESSION_UNKNOWN}
        assert await leaks(owner_connection) == []
        # when
        dispatched = await repository.mark_dispatched([SessionAttempt(each, 0) for each in MIXED])
        # then
        assert (dispatched.dispatched, dispatched.rejected) == (tuple(REAL_IDS), tuple(STRANGERS))
        # when / then
        await self.moves_the_real_ones(repository, owner_connection, SessionStatus.PREPARING)
        # when
        less = {session_id(number): {kernel_id(number): {CPU: 1}} for number in range(REAL)}
        started = await repository.mark_running([SessionStart(each, less.get(each, {})) for each in MIXED])
        # then
        assert started.changed == tuple(REAL_IDS)
        assert await leaks(owner_connection) == []
        assert await owner_connection.fetchval("SELECT sum(occupied) FROM agent_slots") == 3 * REAL
        for to_status in (SessionStatus.TERMINATING, SessionStatus.PENDING, SessionStatus.CANCELLED):
            # when / then
            await self.moves_the_real_ones(repository, owner_connection, to_status)
        assert await owner_connection.fetchval("SELECT sum(occupied) FROM agent_slots") == 0

    async def moves_the_real_ones(
        self, repository: LifecycleRepository, connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        moved = await mark(repository, to_status, MIXED)
        assert moved.changed == tuple(REAL_IDS)
        assert [each.session_id for each in moved.rejected] == STRANGERS
        assert {each.code for each in moved.rejected} == {TransitionRejectionCode.SESSION_UNKNOWN}
        assert await leaks(connection) == []
