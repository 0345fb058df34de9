"""What agents report of themselves: they return, grow and shrink, and the ledger follows where it can."""

import msgspec
import pytest

from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentReport,
    ShrunkAgent,
    ShrunkContainers,
    ShrunkSlot,
)
from scheduler_repo.entities.allocation import RejectionCode
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from tests.agents.fleet import A1, A2, A3, MINUTE, Fleet, Slot, reasons, report
from tests.support.small_cluster import ARM, CPU, GROUP, MEM, agent, place, session, session_id

FITS_AGAIN = "what it runs fits again"


class TestReturn:
    async def test_who_was_given_up_is_back_as_its_operators_want(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given one that was drained and lost, one that was lost, and one that was terminated
        await fleet.given([agent(A1), agent(A2), agent(A3)])
        await agents.drain_agents([A1])
        await fleet.set_silent(A1, A2)
        await agents.mark_lost_agents(GROUP, MINUTE)
        await agents.terminate_agents([A3])
        # when
        result = await agents.return_agents([report(A3), report(A2), report(A1)])
        # then
        assert (result.alive, result.draining) == ((A3, A2), (A1,))
        assert result.returned == (A3, A2, A1)
        assert (result.shrunk, result.rejected) == ((), ())
        assert (await fleet.history(A1))[-1] == ("LOST", "DRAINING", "heard again")
        assert (await fleet.history(A2))[-1] == ("LOST", "ALIVE", "heard again")
        # and it is not lost again at once
        assert await fleet.was_heard(A2)
        assert (await agents.mark_lost_agents(GROUP, MINUTE)).changed == ()

    async def test_sessions_that_were_not_recovered_go_on(
        self, fleet: Fleet, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await fleet.given([agent(A1)], [session(1, 4), session(2, 7), session(3, 6)], [place(1, A1)])
        await fleet.set_status("LOST", A1)
        # when
        await agents.return_agents([report(A1)])
        # then what they hold is not given to others
        result = await scheduler.allocate_sessions(GROUP, [place(2, A1), place(3, A1)])
        assert result.allocated == (session_id(3),)

    async def test_capacity_follows_what_is_reported(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 4)], [place(1, A1)])
        await fleet.connection.execute("INSERT INTO slot_types (name, slot_index) VALUES ('gpu', 2)")
        bare = AgentReport(A2, {CPU: 7})
        # when
        result = await agents.return_agents([report(A1, cpu=4, mem=200, gpu=2), bare])
        # then
        assert (result.alive, result.returned) == ((A1, A2), ())
        assert await fleet.slots(A1) == {
            "cpu": Slot(4, 4, 4),
            "mem": Slot(200, 1, 200),
            "gpu": Slot(2, 0, 2),
        }
        assert await fleet.slots(A2) == {"cpu": Slot(7, 0, 7), "mem": Slot(0, 0, 0)}
        assert len(await fleet.history(A1)) == 1

    async def test_what_is_not_said_stays(self, fleet: Fleet, agents: AgentRepository) -> None:
        # given
        await fleet.given([agent(A1, max_containers=3), agent(A2, max_containers=3)])
        full = AgentReport(A2, {CPU: 1}, max_containers=5, address="tcp://b2", architecture=ARM)
        # when
        await agents.return_agents([report(A1), full])
        # then
        rows = await fleet.connection.fetch(
            "SELECT address, architecture, max_containers FROM agents ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [("tcp://a1", "x86_64", 3), ("tcp://b2", "aarch64", 5)]

    async def test_other_architecture_under_kernels_is_rejected(
        self, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # given
        await fleet.given([agent(A1)], [session(1, 1)], [place(1, A1)])
        # when
        result = await agents.return_agents([msgspec.structs.replace(report(A1), architecture=ARM)])
        # then
        assert reasons(result.rejected) == [(A1, AgentRejectionCode.OCCUPIED)]


class TestShrunkAgent:
    @pytest.fixture
    async def given(self, fleet: Fleet) -> None:
        """An agent of ten cores, of which six and three are occupied by two sessions."""
        await fleet.given([agent(A1), agent(A2)], [session(1, 6), session(2, 3), session(3, 1)])

    @pytest.fixture
    async def shrunk(self, given: None, agents: AgentRepository, scheduler: SchedulerRepository) -> ShrunkAgent:
        """It has five cores, and more memory."""
        assert len((await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])).allocated) == 2
        result = await agents.return_agents([report(A1, cpu=5, mem=500), report(A2)])
        assert (result.alive, result.draining) == ((A2,), (A1,))
        (found,) = result.shrunk
        return found

    async def test_is_drained_and_its_ledger_kept(
        self, shrunk: ShrunkAgent, fleet: Fleet, scheduler: SchedulerRepository
    ) -> None:
        # then
        assert shrunk == ShrunkAgent(A1, (ShrunkSlot(CPU, 9, 5),))
        assert await fleet.slots(A1) == {"cpu": Slot(10, 9, 5), "mem": Slot(100, 2, 500)}
        assert await fleet.status(A1) == ("DRAINING", "ALIVE")
        assert (await fleet.history(A1))[1:] == [
            ("ALIVE", "DRAINING", "it has less than what it runs; cpu: occupied 9, reported 5")
        ]
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(3, A1)])
        # then
        assert [each.code for each in result.rejected] == [RejectionCode.AGENT_UNAVAILABLE]

    async def test_comes_back_by_itself_when_all_fits(
        self,
        shrunk: ShrunkAgent,
        fleet: Fleet,
        agents: AgentRepository,
        repository: LifecycleRepository,
    ) -> None:
        # given
        small = report(A1, cpu=5, mem=500)
        await repository.mark_terminated([SessionEnd(session_id(2))])
        # when six are still occupied
        result = await agents.return_agents([small])
        # then
        assert result.shrunk == (ShrunkAgent(A1, (ShrunkSlot(CPU, 6, 5),)),)
        assert len(await fleet.history(A1)) == 2
        # when
        await repository.mark_terminated([SessionEnd(session_id(1))])
        result = await agents.return_agents([small])
        # then
        assert (result.alive, result.shrunk) == ((A1,), ())
        assert await fleet.slots(A1) == {"cpu": Slot(5, 0, 5), "mem": Slot(500, 0, 500)}
        assert (await fleet.history(A1))[-1] == ("DRAINING", "ALIVE", FITS_AGAIN)

    async def test_stays_drained_if_an_operator_wants_so(
        self, shrunk: ShrunkAgent, fleet: Fleet, agents: AgentRepository
    ) -> None:
        # when drained while it is shrunk
        drained = await agents.drain_agents([A1])
        # then
        assert (drained.changed, drained.deferred) == ((), (A1,))
        # when it has its cores back
        result = await agents.return_agents([report(A1)])
        # then capacity follows, and it is drained still
        assert (result.draining, result.shrunk) == ((A1,), ())
        assert (await fleet.slots(A1))[MEM] == Slot(100, 2, 100)
        assert (await agents.resume_agents([A1])).changed == (A1,)

    async def test_is_not_resumed_before_it_fits(
        self,
        shrunk: ShrunkAgent,
        fleet: Fleet,
        agents: AgentRepository,
        repository: LifecycleRepository,
    ) -> None:
        # when
        result = await agents.resume_agents([A1])
        # then
        assert reasons(result.rejected) == [(A1, AgentRejectionCode.SHRUNK)]
        assert result.rejected[0].detail.startswith("slot cpu: occupied 9, reported 5;")
        # when it was drained too
        await agents.drain_agents([A1])
        result = await agents.resume_agents([A1])
        # then the operator's part of it has ended
        assert (result.changed, result.deferred) == ((), (A1,))
        assert await fleet.status(A1) == ("DRAINING", "ALIVE")
        # when all fits, and it does not report again
        await repository.mark_terminated([SessionEnd(session_id(1))])
        result = await agents.resume_agents([A1])
        # then the report of before holds
        assert result.changed == (A1,)
        assert await fleet.slots(A1) == {"cpu": Slot(5, 3, 5), "mem": Slot(500, 1, 500)}

    async def test_slot_that_is_gone_is_reported_as_nothing(
        self, given: None, fleet: Fleet, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given a lost agent with one session, and a slot that the agent did not have
        await scheduler.allocate_sessions(GROUP, [place(1, A1)])
        await fleet.connection.execute("INSERT INTO slot_types (name, slot_index) VALUES ('gpu', 2)")
        await fleet.set_status("LOST", A1)
        # when it returns without memory
        result = await agents.return_agents([AgentReport(A1, {CPU: 10, **report(A1, gpu=4).capacity, MEM: 0})])
        # then
        assert (result.draining, result.returned) == ((A1,), (A1,))
        assert result.shrunk == (ShrunkAgent(A1, (ShrunkSlot(MEM, 1, 0),)),)
        assert await fleet.slots(A1) == {
            "cpu": Slot(10, 6, 10),
            "mem": Slot(100, 1, 0),
            "gpu": Slot(0, 0, 4),
        }
        # when it leaves it out
        result = await agents.return_agents([AgentReport(A1, {CPU: 10})])
        # then
        assert result.shrunk == (ShrunkAgent(A1, (ShrunkSlot(MEM, 1, 0),)),)

    async def test_fewer_containers_than_it_runs(
        self, given: None, fleet: Fleet, agents: AgentRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await scheduler.allocate_sessions(GROUP, [place(1, A1), place(2, A1)])
        # when
        result = await agents.return_agents([msgspec.structs.replace(report(A1, cpu=9), max_containers=1)])
        # then the limit comes down as far as it can
        assert result.draining == (A1,)
        assert result.shrunk == (ShrunkAgent(A1, (), ShrunkContainers(2, 1)),)
        assert await fleet.max_containers(A1) == 2
        assert (await fleet.slots(A1))[CPU] == Slot(10, 9, 9)
        assert (await fleet.history(A1))[-1][2] == "it has less than what it runs; containers: 2, reported 1"
        # when
        result = await agents.return_agents([msgspec.structs.replace(report(A1, cpu=9), max_containers=2)])
        # then
        assert (result.alive, result.shrunk) == ((A1,), ())
