"""Agents that are not heard of are lost, and a heartbeat that comes in time keeps them."""

import asyncio
from datetime import timedelta

import pytest

from scheduler_repo.entities.agent import AgentTransitionResult
from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, AgentStatus
from tests.agents.fleet import A1, A2, A3, MINUTE, Fleet
from tests.support.databases import OWNER, Database
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, place, session, status_of
from tests.support.waiting import until_blocked

SILENT = "not heard of for longer than 0:01:00"


class TestLoss:
    async def test_silent_agents_of_the_group_are_lost(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given silent ones that are alive, draining, and of another group; heard of ones; and one gone before
        away, elsewhere, gone = AgentId("a4"), AgentId("a5"), AgentId("a6")
        names = (A1, A2, A3, away, gone)
        await fleet.given([*map(agent, names), agent(elsewhere, scaling_group=OTHER_GROUP)])
        await agents.record_heartbeats([A1, A2, A3, elsewhere])
        await agents.drain_agents([A2], "maintenance")
        await agents.terminate_agents([gone])
        await fleet.set_silent(A1, A2, away, elsewhere, gone)
        # when
        result = await agents.mark_lost_agents(GROUP, MINUTE)
        # then
        assert result == AgentTransitionResult(
            AgentStatus.LOST, (A1, A2, away), (), transaction_id=result.transaction_id
        )
        assert [(await fleet.status(name))[0] for name in (*names, elsewhere)] == [
            *("LOST", "LOST", "ALIVE", "LOST", "TERMINATED", "ALIVE")
        ]
        assert await fleet.status(A2) == ("LOST", "DRAINING")
        assert (await fleet.history(A2))[1:] == [
            ("ALIVE", "DRAINING", "maintenance"),
            ("DRAINING", "LOST", SILENT),
        ]
        # when
        again = await agents.mark_lost_agents(GROUP, MINUTE)
        # then
        assert again.changed == ()
        assert len(await fleet.history(A1)) == 2

    async def test_agent_never_heard_of_counts_from_its_last_change(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)])
        await fleet.set_silent(A1, minutes=3)
        # when / then
        assert (await agents.mark_lost_agents(GROUP, timedelta(minutes=4))).changed == ()
        assert (await agents.mark_lost_agents(GROUP, timedelta(minutes=2))).changed == (A1,)

    async def test_lost_agent_takes_no_kernels(
        self, fleet: Fleet, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 1)])
        await fleet.set_silent(A1)
        # when
        await agents.mark_lost_agents(GROUP, MINUTE)
        # then
        state = await scheduler.get_scheduling_data(GROUP)
        assert [each.agent_id for each in state.agents] == [A2]
        placed = await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        assert [each.code for each in placed.rejected] == [RejectionCode.AGENT_UNAVAILABLE]

    async def test_heartbeat_that_comes_before_the_lock_wins(
        self, fleet: Fleet, agents: AgentRepository, migrated_database: Database
    ) -> None:
        # given the loss of two agents, which waits for the row of the second
        await fleet.given([agent(A1), agent(A2)])
        await fleet.set_silent(A1, A2)
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM agents WHERE id = 'a2' FOR NO KEY UPDATE")
            losing = asyncio.ensure_future(agents.mark_lost_agents(GROUP, MINUTE))
            await until_blocked(fleet.connection, 1)
            # when both are heard of meanwhile
            assert (await agents.record_heartbeats([A1, A2])).recorded == (A1, A2)
            await transaction.commit()
        # then
        assert (await losing).changed == ()
        assert [await fleet.status(each) for each in (A1, A2)] == [("ALIVE", "ALIVE")] * 2

    @pytest.mark.parametrize("silence", [timedelta(), timedelta(seconds=-1), 60, timedelta.max])
    async def test_time_that_is_none_is_refused(
        self, fleet: Fleet, agents: AgentRepository, silence: object
    ) -> None:
        # given
        await fleet.given([agent(A1)])
        # when / then
        with pytest.raises(InvalidInput):
            await agents.mark_lost_agents(GROUP, silence)  # type: ignore[arg-type]


class TestAllocationAndLoss:
    """An allocation and a loss of its agent wait for one another: who is first is seen by the other."""

    @pytest.fixture
    async def given(self, fleet: Fleet) -> None:
        await fleet.given([agent(A1), agent(A2)], [session(1, 1, 1)])
        await fleet.set_silent(A1)

    async def test_allocation_first(
        self,
        given: None,
        fleet: Fleet,
        agents: AgentRepository,
        scheduler: SchedulerRepository,
        migrated_database: Database,
    ) -> None:
        # given an allocation that holds its agents and waits for their ledger
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM agent_slots FOR NO KEY UPDATE")
            placing = asyncio.ensure_future(scheduler.allocate_sessions(GROUP, [place(1, A1, A2)]))
            await until_blocked(fleet.connection, 1)
            # when
            losing = asyncio.ensure_future(agents.mark_lost_agents(GROUP, MINUTE))
            await until_blocked(fleet.connection, 2)
            await transaction.commit()
        # then the session is on an agent that is lost, where recovery finds it
        assert len((await placing).allocated) == 1
        assert (await losing).changed == (A1,)
        assert await status_of(fleet.connection, 1) == ("SCHEDULED", {"SCHEDULED"})

    async def test_loss_first(
        self,
        given: None,
        fleet: Fleet,
        agents: AgentRepository,
        scheduler: SchedulerRepository,
        migrated_database: Database,
    ) -> None:
        # given a loss that holds its agents and waits to write their history
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("LOCK TABLE agent_history IN SHARE MODE")
            losing = asyncio.ensure_future(agents.mark_lost_agents(GROUP, MINUTE))
            await until_blocked(fleet.connection, 1)
            # when
            placing = asyncio.ensure_future(scheduler.allocate_sessions(GROUP, [place(1, A1, A2)]))
            await until_blocked(fleet.connection, 2)
            await transaction.commit()
        # then
        assert (await losing).changed == (A1,)
        placed = await placing
        assert [(each.code, each.agent_id) for each in placed.rejected] == [
            (RejectionCode.AGENT_UNAVAILABLE, A1)
        ]
        assert await status_of(fleet.connection, 1) == ("PENDING", {"PENDING"})
