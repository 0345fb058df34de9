"""No session is left on a lost agent: it goes back into the queue, or ends."""

import asyncio

import pytest

from scheduler_repo.entities.lifecycle import (
    LostSessionAction,
    RecoveryResult,
    SessionEnd,
    SessionStart,
    TransitionRejectionCode,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import SessionStatus
from tests.agents.fleet import A1, A2, A3, Fleet, report
from tests.support.databases import OWNER, Database
from tests.support.small_cluster import (
    GROUP,
    OTHER_GROUP,
    Ledger,
    agent,
    history_of,
    ledger_of,
    place,
    session,
    session_id,
    status_of,
)
from tests.support.waiting import until_blocked

REQUEUE, FAIL = LostSessionAction.REQUEUE, LostSessionAction.FAIL
EMPTY = Ledger(0, 0, 0)


class TestRecovery:
    @pytest.fixture
    async def given(self, fleet: Fleet, repository: LifecycleRepository) -> None:
        """On a1, which is lost: 1 SCHEDULED, 2 PREPARING, 3 RUNNING, 4 TERMINATING, 5 ended; 3 is on a2 too.

        On a2 alone: 6. Pending: 7.
        """
        sessions = [session(number, 1, 1) for number in (1, 2, 3, 4, 5, 6, 7)]
        placed = [place(number, A1, A1) for number in (1, 2, 4, 5)]
        await fleet.given([agent(A1), agent(A2)], sessions, [*placed, place(3, A2, A1), place(6, A2, A2)])
        await repository.mark_preparing([session_id(2), session_id(3)])
        await repository.mark_running([SessionStart(session_id(3))])
        await repository.mark_terminating([session_id(4)])
        await repository.mark_terminated([SessionEnd(session_id(5))])
        await fleet.set_status("LOST", A1)

    async def test_requeue(self, given: None, fleet: Fleet, repository: LifecycleRepository) -> None:
        # when
        result = await repository.recover_lost_sessions(GROUP, REQUEUE)
        # then
        requeued = tuple(map(session_id, (1, 2, 3)))
        assert result == RecoveryResult(requeued, (session_id(4),), (), result.transaction_id)
        for number in (1, 2, 3, 7):
            assert await status_of(fleet.connection, number) == ("PENDING", {"PENDING"})
        assert await status_of(fleet.connection, 4) == ("ERROR", {"ERROR"})
        assert await status_of(fleet.connection, 5) == ("TERMINATED", {"TERMINATED"})
        assert await status_of(fleet.connection, 6) == ("SCHEDULED", {"SCHEDULED"})
        rows = await fleet.connection.fetch("SELECT retry_count, failed_agent_ids FROM sessions ORDER BY id")
        assert [tuple(row) for row in rows] == [*[(1, [A1])] * 3, *[(0, [])] * 4]
        assert (await history_of(fleet.connection, 3))[-1] == ("RUNNING", "PENDING")
        reasons = await fleet.connection.fetch(
            "SELECT DISTINCT reason FROM session_history WHERE to_status IN ('ERROR', 'PENDING')"
            " AND from_status IS NOT NULL"
        )
        assert [row["reason"] for row in reasons] == ["an agent that it ran on is lost"]
        # and all that they held is given back, on the agent that is there too
        assert await ledger_of(fleet.connection, A1) == EMPTY
        assert await ledger_of(fleet.connection, A2) == Ledger(2, 2, 2)
        # when
        again = await repository.recover_lost_sessions(GROUP, REQUEUE)
        # then
        assert (again.requeued, again.failed, again.rejected) == ((), (), ())

    async def test_fail(self, given: None, fleet: Fleet, repository: LifecycleRepository) -> None:
        # when
        result = await repository.recover_lost_sessions(GROUP, FAIL)
        # then
        assert (result.requeued, result.failed) == ((), tuple(map(session_id, (1, 2, 3, 4))))
        assert await status_of(fleet.connection, 3) == ("ERROR", {"ERROR"})
        assert await ledger_of(fleet.connection, A1) == EMPTY

    async def test_in_steps(self, given: None, repository: LifecycleRepository) -> None:
        # when
        results = [await repository.recover_lost_sessions(GROUP, REQUEUE, limit=3) for _ in range(3)]
        # then
        assert [len(each.requeued) + len(each.failed) for each in results] == [3, 1, 0]

    async def test_terminated_agent_needs_it_first(
        self, given: None, agents: AgentRepository, repository: LifecycleRepository
    ) -> None:
        # when / then
        assert (await agents.terminate_agents([A1])).changed == ()
        await repository.recover_lost_sessions(GROUP, REQUEUE)
        assert (await agents.terminate_agents([A1])).changed == (A1,)

    async def test_drifted_ledger_costs_its_own_sessions_only(
        self, given: None, fleet: Fleet, repository: LifecycleRepository
    ) -> None:
        # given counters of the other agent that are below what its kernels hold
        await fleet.connection.execute("UPDATE agent_slots SET occupied = 0 WHERE agent_id = 'a2'")
        # when
        result = await repository.recover_lost_sessions(GROUP, REQUEUE)
        # then
        assert result.requeued == (session_id(1), session_id(2))
        assert [(each.session_id, each.code, each.agent_id) for each in result.rejected] == [
            (session_id(3), TransitionRejectionCode.LEDGER_DRIFT, A2)
        ]


class TestWhichSessions:
    async def test_only_those_of_the_group(self, fleet: Fleet, repository: LifecycleRepository) -> None:
        # given a lost agent that was moved to another group with its kernel
        await fleet.given([agent(A1)], [session(1, 1)], [place(1, A1)])
        await fleet.connection.execute(
            "UPDATE agents SET scaling_group = $1, status = 'LOST' WHERE id = 'a1'", OTHER_GROUP
        )
        # when / then the session goes with its own group
        assert (await repository.recover_lost_sessions(OTHER_GROUP, REQUEUE)).requeued == ()
        assert (await repository.recover_lost_sessions(GROUP, REQUEUE)).requeued == (session_id(1),)

    async def test_agent_that_returns_meanwhile_keeps_its_sessions(
        self,
        fleet: Fleet,
        agents: AgentRepository,
        repository: LifecycleRepository,
        migrated_database: Database,
    ) -> None:
        # given a recovery that waits for a session of one of two lost agents
        await fleet.given(
            [agent(A1), agent(A2), agent(A3)], [session(1, 1), session(2, 1)], [place(1, A1), place(2, A2)]
        )
        await fleet.set_status("LOST", A1, A2)
        async with migrated_database.driver_as(OWNER) as other:
            transaction = other.transaction()
            await transaction.start()
            await other.execute("SELECT FROM sessions WHERE id = $1 FOR NO KEY UPDATE", session_id(2))
            recovering = asyncio.ensure_future(repository.recover_lost_sessions(GROUP, REQUEUE))
            await until_blocked(fleet.connection, 1)
            # when
            await agents.return_agents([report(A1)])
            await transaction.commit()
        # then
        assert (await recovering).requeued == (session_id(2),)
        assert await status_of(fleet.connection, 1) == ("SCHEDULED", {"SCHEDULED"})

    async def test_requeued_session_can_be_placed_elsewhere(
        self, fleet: Fleet, repository: LifecycleRepository, scheduler: SchedulerRepository
    ) -> None:
        # given
        await fleet.given([agent(A1), agent(A2)], [session(1, 1)], [place(1, A1)])
        await fleet.set_status("LOST", A1)
        await repository.recover_lost_sessions(GROUP, REQUEUE)
        # when
        (waiting,) = (await scheduler.get_scheduling_data(GROUP)).pending_sessions
        # then
        assert waiting.failed_agent_ids == (A1,)
        assert (await scheduler.allocate_sessions(GROUP, [place(1, A2)])).allocated == (session_id(1),)


class TestRefusals:
    async def test_action_that_is_none(self, repository: LifecycleRepository) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="LostSessionAction"):
            await repository.recover_lost_sessions(GROUP, SessionStatus.PENDING)  # type: ignore[arg-type]

    @pytest.mark.parametrize("limit", [0, -1, 2**31, 1.5, "1", True, None])
    async def test_limit_that_is_none(self, repository: LifecycleRepository, limit: object) -> None:
        # when / then
        with pytest.raises(InvalidInput, match="limit"):
            await repository.recover_lost_sessions(GROUP, REQUEUE, limit)  # type: ignore[arg-type]
