"""One agent as its rows say, and the switch that opens it for scheduling."""

from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentReport,
    AgentSlot,
    AgentSwitchResult,
    RejectedAgentTransition,
)
from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.errors import AgentNotFound, OperationMismatch, ScalingGroupNotFound, StaleLeaseError
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import (
    AgentId,
    AgentStatus,
    LeaseHolder,
    OperationId,
    ScalingGroupName,
    SlotName,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    CLOSED_GROUP,
    CPU,
    GROUP,
    MEM,
    OTHER_GROUP,
    X86,
    agent,
    cluster,
    place,
    session,
)

A1, A2, A3, NOBODY = (AgentId(name) for name in ("a1", "a2", "a3", "nobody"))
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
async def fleet(load: Load) -> None:
    """Three agents, the last in another group, and a session that waits."""
    agents = [agent(A2, max_containers=7), agent(A1), agent(A3, scaling_group=OTHER_GROUP)]
    await load(cluster(agents, [session(1, 4)]))


class TestAgentRepository:
    async def test_get_says_all_that_the_rows_say(
        self, agents: AgentRepository, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given an agent that was heard of, runs a kernel, and then shrank
        await agents.record_heartbeats([A2])
        await scheduler.allocate_sessions(GROUP, [place(1, A2)])
        await agents.return_agents([AgentReport(A2, {CPU: 3, MEM: 100})])
        row = await owner_connection.fetchrow(
            "SELECT a.created_at, a.status_changed_at, h.heartbeat_at"
            " FROM agents AS a JOIN agent_heartbeats AS h ON h.agent_id = a.id WHERE a.id = $1",
            A2,
        )
        assert row is not None
        # when
        found = await agents.get_agent(A2)
        # then
        assert (found.agent_id, found.scaling_group, found.address) == (A2, GROUP, "tcp://a2")
        assert (found.architecture, found.is_schedulable) == (X86, True)
        assert (found.status, found.returns_as) == (AgentStatus.DRAINING, AgentStatus.ALIVE)
        assert (found.container_count, found.max_containers) == (1, 7)
        assert found.slots == (AgentSlot(CPU, 10, 4, 3), AgentSlot(MEM, 100, 1, 100))
        assert (found.created_at, found.status_changed_at, found.heartbeat_at) == tuple(row)
        assert timedelta() < found.observed_at - found.status_changed_at < MINUTE

    async def test_find_answers_as_get_does(self, agents: AgentRepository) -> None:
        # when
        got, found = await agents.get_agent(A1), await agents.find_agent(A1)
        # then
        assert found is not None
        assert found == msgspec.structs.replace(got, observed_at=found.observed_at)

    async def test_agent_that_was_never_heard_of(self, agents: AgentRepository) -> None:
        assert (await agents.get_agent(A1)).heartbeat_at is None

    async def test_slots_are_read_by_name(self, agents: AgentRepository) -> None:
        # when
        found = await agents.get_agent(A1)
        # then
        cpu = found.find_slot(CPU)
        assert cpu is not None
        assert cpu.free == 10
        assert found.find_slot(SlotName("fpga")) is None

    async def test_amounts_of_63_bits_are_exact(self, agents: AgentRepository) -> None:
        # given
        await agents.return_agents([AgentReport(A1, {CPU: 2**63 - 1, MEM: 2**53 + 1})])
        # when
        found = await agents.get_agent(A1)
        # then
        assert [slot.capacity for slot in found.slots] == [2**63 - 1, 2**53 + 1]

    async def test_unknown_agent_is_named(self, agents: AgentRepository) -> None:
        with pytest.raises(AgentNotFound, match="no agent 'nobody'"):
            await agents.get_agent(NOBODY)
        assert await agents.find_agent(NOBODY) is None

    async def test_list_is_of_one_group_by_id(self, agents: AgentRepository) -> None:
        # when
        listed = await agents.list_agents(GROUP)
        # then
        assert [info.agent_id for info in listed] == [A1, A2]
        assert [slot.slot_name for slot in listed[0].slots] == [CPU, MEM]
        assert [info.agent_id for info in await agents.list_agents(GROUP, limit=1)] == [A1]

    async def test_list_of_no_agents_is_told_from_no_group(self, agents: AgentRepository) -> None:
        assert await agents.list_agents(CLOSED_GROUP) == ()
        with pytest.raises(ScalingGroupNotFound, match="'gpU'"):
            await agents.list_agents(ScalingGroupName("gpU"))


class TestSwitch:
    async def test_closed_agent_takes_no_kernel_until_it_is_opened(
        self, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # when
        closed = await agents.set_agents_schedulable([A1], False)
        # then the next tick does not see it, and no write gets past that
        data = await scheduler.get_scheduling_data(GROUP)
        assert [each.agent_id for each in data.agents] == [A2]
        assert closed.transaction_id is not None
        assert data.has_seen(closed.transaction_id)
        result = await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        assert [rejection.code for rejection in result.rejected] == [RejectionCode.AGENT_UNAVAILABLE]
        # when
        await agents.set_agents_schedulable([A1], True)
        # then
        assert (await scheduler.allocate_sessions(GROUP, [place(1, A1)])).rejected == ()

    async def test_answers_agent_by_agent(self, agents: AgentRepository) -> None:
        # given
        await agents.set_agents_schedulable([A2], False)
        # when
        result = await agents.set_agents_schedulable([A3, NOBODY, A2, A1, A3], False)
        # then
        assert (result.is_schedulable, result.changed, result.unchanged) == (False, (A3, A1), (A2,))
        assert result.rejected == (
            RejectedAgentTransition(NOBODY, AgentRejectionCode.AGENT_UNKNOWN),
            RejectedAgentTransition(A3, AgentRejectionCode.DUPLICATE),
        )

    async def test_status_and_history_stay(
        self, agents: AgentRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        before = await agents.get_agent(A1)
        # when
        await agents.set_agents_schedulable([A1], False)
        # then
        after = await agents.get_agent(A1)
        assert after == msgspec.structs.replace(before, is_schedulable=False, observed_at=after.observed_at)
        assert (
            await owner_connection.fetchval("SELECT count(*) FROM agent_history WHERE agent_id = $1", A1) == 1
        )

    async def test_stays_over_a_loss_and_a_return(self, agents: AgentRepository) -> None:
        # given
        await agents.set_agents_schedulable([A1], False)
        # when
        await agents.terminate_agents([A1])
        await agents.return_agents([AgentReport(A1, {CPU: 10, MEM: 100})])
        # then
        found = await agents.get_agent(A1)
        assert (found.status, found.is_schedulable) == (AgentStatus.ALIVE, False)

    async def test_asked_again_it_answers_the_same_and_writes_nothing(self, agents: AgentRepository) -> None:
        # given
        operation_id = OperationId(uuid4())
        first = await agents.set_agents_schedulable([A1], False, operation_id=operation_id)
        await agents.set_agents_schedulable([A1], True)
        # when
        again = await agents.set_agents_schedulable([A1], False, operation_id=operation_id)
        # then
        assert again == first
        assert (await agents.get_agent(A1)).is_schedulable
        with pytest.raises(OperationMismatch):
            await agents.set_agents_schedulable([A1], True, operation_id=operation_id)

    async def test_under_a_lease_only_its_group_is_changed(
        self, agents: AgentRepository, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given
        leases = LeaseRepository(LeaseDBSource(engine))
        lease = await leases.acquire_lease(GROUP, LeaseHolder("one"), MINUTE)
        # when
        result = await agents.set_agents_schedulable([A1, A3], False, lease=lease)
        # then
        assert result.changed == (A1,)
        assert [(each.agent_id, each.code) for each in result.rejected] == [
            (A3, AgentRejectionCode.OTHER_GROUP)
        ]
        # and nothing is written under a lease that was given back
        await leases.release_lease(lease)
        with pytest.raises(StaleLeaseError):
            await agents.set_agents_schedulable([A1], True, lease=lease)
        assert not (await agents.get_agent(A1)).is_schedulable

    async def test_nothing_asked_is_nothing_done(self, agents: AgentRepository) -> None:
        assert await agents.set_agents_schedulable([], True) == AgentSwitchResult(True, (), (), ())
