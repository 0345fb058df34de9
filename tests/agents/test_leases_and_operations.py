"""A lease fences what is written to its group's agents, and an operation id has it written once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import AgentRejectionCode
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import LostSessionAction
from scheduler_repo.errors import AgentAlreadyExists, InvalidInput, OperationMismatch, StaleLeaseError
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.types import LeaseHolder, OperationId
from tests.agents.fleet import A1, A2, MINUTE, Fleet, reasons, report
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, place, session, session_id

ONCE = OperationId(UUID(int=77))
Write = Callable[[AgentRepository, LifecycleRepository, Lease], Awaitable[object]]

WRITES: dict[str, Write] = {
    "mark_lost_agents": lambda agents, _, lease: agents.mark_lost_agents(GROUP, MINUTE, lease=lease),
    "drain_agents": lambda agents, _, lease: agents.drain_agents([A1], lease=lease),
    "resume_agents": lambda agents, _, lease: agents.resume_agents([A1], lease=lease),
    "terminate_agents": lambda agents, _, lease: agents.terminate_agents([A1], lease=lease),
    "return_agents": lambda agents, _, lease: agents.return_agents([report(A1)], lease=lease),
    "recover_lost_sessions": lambda _, lives, lease: lives.recover_lost_sessions(
        GROUP, LostSessionAction.REQUEUE, lease=lease
    ),
}


class TestLease:
    @pytest.fixture
    async def lease(self, fleet: Fleet, engine: ExtendedAsyncSAEngine) -> Lease:
        """The group's; one agent is of the group, silent and lost, the other of another group."""
        await fleet.given([agent(A1), agent(A2, scaling_group=OTHER_GROUP)], [session(1, 1)], [place(1, A1)])
        await fleet.set_silent(A1)
        await fleet.set_status("LOST", A1)
        return await LeaseRepository(LeaseDBSource(engine)).acquire_lease(
            GROUP, LeaseHolder("one"), timedelta(minutes=1)
        )

    @pytest.mark.parametrize("name", WRITES)
    async def test_former_holder_writes_nothing(
        self,
        lease: Lease,
        fleet: Fleet,
        engine: ExtendedAsyncSAEngine,
        agents: AgentRepository,
        repository: LifecycleRepository,
        name: str,
    ) -> None:
        # given
        await WRITES[name](agents, repository, lease)
        before = await fleet.history(A1)
        former = msgspec.structs.replace(lease, epoch=lease.epoch - 1)
        # when / then
        with pytest.raises(StaleLeaseError):
            await WRITES[name](agents, repository, former)
        assert await fleet.history(A1) == before

    async def test_agents_of_other_groups_are_rejected(self, lease: Lease, agents: AgentRepository) -> None:
        # when
        drained = await agents.drain_agents([A2], lease=lease)
        returned = await agents.return_agents([report(A2), report(A1)], lease=lease)
        # then
        assert reasons(drained.rejected) == [(A2, AgentRejectionCode.OTHER_GROUP)]
        assert reasons(returned.rejected) == [(A2, AgentRejectionCode.OTHER_GROUP)]
        assert returned.rejected[0].detail == "it is in other, the lease is of gpu"
        assert returned.returned == (A1,)

    async def test_lease_of_another_group_is_refused(
        self, lease: Lease, agents: AgentRepository, repository: LifecycleRepository
    ) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="acquire the lease of that group"):
            await agents.mark_lost_agents(OTHER_GROUP, MINUTE, lease=lease)
        with pytest.raises(InvalidInput, match="acquire the lease of that group"):
            await repository.recover_lost_sessions(OTHER_GROUP, LostSessionAction.FAIL, lease=lease)


class TestOperations:
    async def test_asked_again_answers_the_same_and_writes_nothing(
        self, fleet: Fleet, agents: AgentRepository, repository: LifecycleRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 6)], [place(1, A1)])
        number = iter(range(100, 200))

        async def twice(ask: Callable[[OperationId], Awaitable[object]]) -> None:
            chosen = OperationId(UUID(int=next(number)))
            first = await ask(chosen)
            rows = await fleet.history(A1)
            assert await ask(chosen) == first
            assert await fleet.history(A1) == rows

        # when / then
        await twice(lambda chosen: agents.drain_agents([A1, A2], operation_id=chosen))
        await twice(lambda chosen: agents.resume_agents([A1, A1], operation_id=chosen))
        await twice(lambda chosen: agents.terminate_agents([A1, A2], operation_id=chosen))
        await twice(lambda chosen: agents.return_agents([report(A1, cpu=1)], operation_id=chosen))
        await fleet.set_silent(A1)
        await twice(lambda chosen: agents.mark_lost_agents(GROUP, MINUTE, operation_id=chosen))
        await twice(
            lambda chosen: repository.recover_lost_sessions(
                GROUP, LostSessionAction.REQUEUE, operation_id=chosen
            )
        )
        retries = await fleet.connection.fetchval(
            "SELECT retry_count FROM sessions WHERE id = $1", session_id(1)
        )
        assert retries == 1

    async def test_agents_are_registered_once(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([])
        # when
        await agents.register_agents([agent(A1)], operation_id=ONCE)
        await agents.register_agents([agent(A1)], operation_id=ONCE)
        # then
        assert await fleet.history(A1) == [(None, "ALIVE", None)]
        with pytest.raises(AgentAlreadyExists):
            await agents.register_agents([agent(A1)])
        with pytest.raises(OperationMismatch):
            await agents.register_agents([agent(A2)], operation_id=ONCE)
