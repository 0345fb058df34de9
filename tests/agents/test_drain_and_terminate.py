"""What operators ask of agents: drained, resumed and terminated, now or when they are back."""

import pytest

from scheduler_repo.entities.agent import AgentRejectionCode, AgentTransitionResult, RejectedAgentTransition
from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import AgentId, AgentStatus
from tests.agents.fleet import A1, A2, A3, NOBODY, Fleet, Slot, reasons, report
from tests.support.small_cluster import CPU, GROUP, agent, place, session, session_id

NOT_ALLOWED = AgentRejectionCode.NOT_ALLOWED


class TestDrain:
    async def test_drained_agent_keeps_its_kernels_and_takes_no_more(
        self, fleet: Fleet, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 1), session(2, 1)], [place(1, A1)])
        # when
        result = await agents.drain_agents([A1], "new disk")
        # then
        assert (result.to_status, result.changed) == (AgentStatus.DRAINING, (A1,))
        assert await fleet.status(A1) == ("DRAINING", "DRAINING")
        assert (await fleet.history(A1))[1:] == [("ALIVE", "DRAINING", "new disk")]
        assert (await fleet.slots(A1))[CPU] == Slot(10, 1, 10)
        state = await scheduler.get_scheduling_data(GROUP)
        assert [each.agent_id for each in state.agents] == [A2]
        placed = await scheduler.allocate_sessions(GROUP, [place(2, A1)])
        assert [each.code for each in placed.rejected] == [RejectionCode.AGENT_UNAVAILABLE]
        # when
        resumed = await agents.resume_agents([A1])
        # then
        assert (resumed.changed, resumed.deferred) == ((A1,), ())
        assert await fleet.status(A1) == ("ALIVE", "ALIVE")
        assert len((await scheduler.allocate_sessions(GROUP, [place(2, A1)])).allocated) == 1

    async def test_each_agent_is_answered_for_itself(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        lost, gone = AgentId("lost"), AgentId("terminated")
        await fleet.given(map(agent, (A1, A2, A3, lost, gone)))
        await agents.drain_agents([A2])
        await fleet.set_status("LOST", lost)
        await agents.terminate_agents([gone])
        # when
        result = await agents.drain_agents([NOBODY, A3, A2, lost, A1, A3, gone])
        # then
        assert result == AgentTransitionResult(
            AgentStatus.DRAINING,
            (A3, A1),
            (
                RejectedAgentTransition(NOBODY, AgentRejectionCode.AGENT_UNKNOWN),
                RejectedAgentTransition(A2, NOT_ALLOWED, AgentStatus.DRAINING, "from DRAINING to DRAINING"),
                RejectedAgentTransition(A3, AgentRejectionCode.DUPLICATE),
            ),
            (lost, gone),
            result.transaction_id,
        )
        # and it is not heard of again by being drained
        assert await fleet.status(lost) == ("LOST", "DRAINING")
        assert await fleet.status(gone) == ("TERMINATED", "DRAINING")
        assert [row[1] for row in await fleet.history(lost)] == ["ALIVE"]
        # when asked once more
        again = await agents.drain_agents([lost])
        # then
        assert reasons(again.rejected) == [(lost, NOT_ALLOWED)]
        assert again.rejected[0].detail == "it is LOST, and returns as DRAINING already"

    async def test_what_was_asked_of_a_lost_agent_holds_when_it_is_back(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)])
        await agents.drain_agents([A1])
        await fleet.set_status("LOST", A1, A2)
        # when
        drained, resumed = await agents.drain_agents([A2]), await agents.resume_agents([A1])
        # then
        assert (drained.deferred, resumed.deferred) == ((A2,), (A1,))
        # when
        result = await agents.return_agents([report(A1), report(A2)])
        # then
        assert (result.alive, result.draining, result.returned) == ((A1,), (A2,), (A1, A2))

    async def test_only_draining_agents_are_resumed(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)])
        await fleet.set_status("LOST", A2)
        # when
        result = await agents.resume_agents([A1, A2])
        # then
        assert (result.changed, result.deferred) == ((), ())
        assert reasons(result.rejected) == [(A1, NOT_ALLOWED), (A2, NOT_ALLOWED)]


class TestTermination:
    async def test_occupied_agent_is_rejected_until_its_kernels_have_ended(
        self, fleet: Fleet, agents: AgentRepository, repository: LifecycleRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 1, 1)], [place(1, A1, A1)])
        # when
        result = await agents.terminate_agents([A1, A2], "sold")
        # then
        assert result.changed == (A2,)
        assert result.rejected == (
            RejectedAgentTransition(
                A1,
                AgentRejectionCode.OCCUPIED,
                AgentStatus.ALIVE,
                "kernels that occupy it: 2; end them, or recover the sessions of a lost agent",
            ),
        )
        assert (await fleet.history(A2))[1:] == [("ALIVE", "TERMINATED", "sold")]
        # when
        await repository.mark_terminated([SessionEnd(session_id(1))])
        # then
        assert (await agents.terminate_agents([A1])).changed == (A1,)

    @pytest.mark.parametrize("status", ["DRAINING", "LOST"])
    async def test_from_any_other_status(self, fleet: Fleet, agents: AgentRepository, status: str) -> None:
        # given
        await fleet.given([agent(A1)])
        await fleet.set_status(status, A1)
        # when / then
        assert (await agents.terminate_agents([A1])).changed == (A1,)
        assert reasons((await agents.terminate_agents([A1])).rejected) == [(A1, NOT_ALLOWED)]


class TestRefusals:
    async def test_one_id_in_place_of_a_list(self, agents: AgentRepository) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="one text"):
            await agents.drain_agents("a1")  # type: ignore[arg-type]
