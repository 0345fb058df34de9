"""What each step of a session's life leaves behind: slots, results, retries."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.lifecycle import (
    RejectedTransition,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
    TransitionRejectionCode,
    TransitionResult,
)
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.types import AgentId, LeaseHolder, SessionResult, SessionStatus
from tests.lifecycle.marking import MARKED
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Kernel, Lives, kernels_of, leaks
from tests.support.small_cluster import (
    CPU,
    GROUP,
    MEM,
    OTHER_GROUP,
    Ledger,
    kernel_id,
    ledger_of,
    place,
    session_id,
    status_of,
)

FAILED_ON_A1 = SessionRetry(session_id(0), (AgentId(A1),))


@pytest.fixture(autouse=True)
async def nothing_leaks(owner_connection: DriverConnection) -> AsyncIterator[None]:
    yield
    assert await leaks(owner_connection) == []


class TestRunning:
    async def test_what_is_not_occupied_is_given_back(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given two sessions of three kernels each on two agents
        await lives.given(SessionStatus.PREPARING, SessionStatus.PREPARING)
        occupied = {kernel_id(0, 0): {CPU: 1}, kernel_id(0, 1): {CPU: 3, MEM: 1}, kernel_id(0, 2): {}}
        # when one of them occupies less than it asked for, and the other does not say
        result = await lives.repository.mark_running(
            [SessionStart(session_id(0), occupied), SessionStart(session_id(1))]
        )
        # then
        assert (result.changed, result.rejected) == ((session_id(0), session_id(1)), ())
        assert await kernels_of(owner_connection, 0) == [
            Kernel("RUNNING", A1, (1, 0), None),
            Kernel("RUNNING", A2, (3, 1), None),
            Kernel("RUNNING", A1, (0, 0), None),
        ]
        assert [each.occupied_slots for each in await kernels_of(owner_connection, 1)] == [
            (2, 1),
            (3, 1),
            (4, 1),
        ]
        assert await ledger_of(owner_connection, A1) == Ledger(cpu=1 + 6, mem=0 + 2, containers=4)
        assert await ledger_of(owner_connection, A2) == Ledger(cpu=6, mem=2, containers=2)

    async def test_what_was_given_back_is_not_given_back_again_at_the_end(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.PREPARING)
        await lives.repository.mark_running([SessionStart(session_id(0), {kernel_id(0): {CPU: 1, MEM: 1}})])
        # when
        ended = await lives.repository.mark_terminated([SessionEnd(session_id(0))])
        # then what it occupied stays to be read, and nothing is held
        assert ended.changed == (session_id(0),)
        assert [each.occupied_slots for each in await kernels_of(owner_connection, 0)] == [
            (1, 1),
            (3, 1),
            (4, 1),
        ]
        assert await ledger_of(owner_connection, A1) == await ledger_of(owner_connection, A2) == Ledger(0, 0, 0)

    async def test_what_was_given_back_can_be_had_by_another(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given an agent on which a waiting session does not fit
        await lives.given(SessionStatus.PREPARING, SessionStatus.PENDING)
        await owner_connection.execute("UPDATE agent_slots SET capacity = 11 WHERE slot_name = 'cpu'")
        assert (await lives.scheduler.allocate_sessions(GROUP, [place(1, A1, A2, A1)])).allocated == ()
        # when the running one needs less
        await lives.repository.mark_running([SessionStart(session_id(0), {kernel_id(0, 2): {CPU: 3}})])
        # then
        assert (await lives.scheduler.allocate_sessions(GROUP, [place(1, A1, A2, A1)])).allocated == (
            session_id(1),
        )


class TestTerminating:
    async def test_agents_are_occupied_until_it_is_terminated(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.RUNNING)
        # when
        await lives.repository.mark_terminating([session_id(0)], "preempted")
        # then
        assert await ledger_of(owner_connection, A1) == Ledger(6, 2, 2)
        # when
        await lives.repository.mark_terminated([SessionEnd(session_id(0))])
        # then
        assert await ledger_of(owner_connection, A1) == Ledger(0, 0, 0)


class TestTerminated:
    async def test_result_and_exit_codes_are_kept(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(*[SessionStatus.RUNNING] * 3)
        codes = {kernel_id(0): 0, kernel_id(0, 2): -(2**31)}
        # when
        result = await lives.repository.mark_terminated(
            [
                SessionEnd(session_id(0), SessionResult.FAILURE, codes),
                SessionEnd(session_id(1), SessionResult.SUCCESS, {kernel_id(1, 1): 2**31 - 1}),
                SessionEnd(session_id(2)),
            ],
            "done",
        )
        # then
        assert result.rejected == ()
        results = await owner_connection.fetch("SELECT result FROM sessions ORDER BY id")
        assert [row["result"] for row in results] == ["FAILURE", "SUCCESS", None]
        exit_codes = [[each.exit_code for each in await kernels_of(owner_connection, n)] for n in range(3)]
        assert exit_codes == [[0, None, -(2**31)], [None, 2**31 - 1, None], [None, None, None]]

    @pytest.mark.parametrize("to_status", [SessionStatus.CANCELLED, SessionStatus.ERROR])
    async def test_other_ends_have_no_result(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given
        await lives.given(SessionStatus.PREPARING)
        # when
        await lives.mark(to_status, [0])
        # then
        assert await status_of(owner_connection, 0) == (to_status, {to_status})
        assert await owner_connection.fetchval("SELECT result FROM sessions") is None


class TestRequeue:
    async def test_retries_are_counted_and_failed_agents_remembered(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.RUNNING, SessionStatus.SCHEDULED)
        # when one comes back twice, from unlike agents, and another once, from none
        await lives.repository.requeue_sessions([FAILED_ON_A1, SessionRetry(session_id(1))], "agent lost")
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1)])
        again = SessionRetry(session_id(0), (AgentId(A2), AgentId(A1), AgentId(A2)))
        await lives.repository.requeue_sessions([again], "agent lost")
        # then
        rows = await owner_connection.fetch(
            "SELECT retry_count, failed_agent_ids, result FROM sessions ORDER BY id"
        )
        assert [tuple(row) for row in rows] == [(2, [A1, A2], None), (1, [], None)]

    async def test_a_rejected_session_is_not_counted(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.TERMINATED, SessionStatus.RUNNING)
        # when
        result = await lives.repository.requeue_sessions(
            [FAILED_ON_A1, SessionRetry(session_id(1), (AgentId(A2),))]
        )
        # then
        assert result.changed == (session_id(1),)
        rows = await owner_connection.fetch("SELECT retry_count, failed_agent_ids FROM sessions ORDER BY id")
        assert [tuple(row) for row in rows] == [(0, []), (1, [A2])]

    async def test_it_keeps_its_place_in_the_queue_and_is_read_with_its_past(self, lives: Lives) -> None:
        # given two that wait, and one before them that runs
        await lives.given(SessionStatus.RUNNING, SessionStatus.PENDING, SessionStatus.PENDING)
        # when
        await lives.repository.requeue_sessions([FAILED_ON_A1])
        # then
        data = await lives.scheduler.get_scheduling_data(GROUP)
        assert [each.session_id for each in data.pending_sessions] == [
            session_id(0),
            session_id(1),
            session_id(2),
        ]
        first = data.pending_sessions[0]
        assert (first.retry_count, first.failed_agent_ids) == (1, (A1,))
        assert [each.occupied for each in data.agents] == [(0, 0), (0, 0)]

    async def test_it_is_to_be_dispatched_anew(self, lives: Lives) -> None:
        # given a session that was dispatched, and goes back to the queue
        await lives.given(SessionStatus.SCHEDULED)
        (attempt,) = await lives.repository.list_undispatched_sessions(GROUP)
        await lives.repository.mark_dispatched([SessionAttempt(attempt.session_id, attempt.retry_count)])
        await lives.repository.requeue_sessions([FAILED_ON_A1])
        assert await lives.repository.list_undispatched_sessions(GROUP) == ()
        # when it is placed once more
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A2, A2, A2)])
        # then
        (attempt,) = await lives.repository.list_undispatched_sessions(GROUP)
        assert (attempt.session_id, attempt.retry_count) == (session_id(0), 1)
        assert {kernel.agent_id for kernel in attempt.kernels} == {A2}


class TestOneBatch:
    async def test_answers_in_the_order_given(self, lives: Lives) -> None:
        # given
        await lives.given(*[SessionStatus.RUNNING] * 4, SessionStatus.PENDING, SessionStatus.TERMINATED)
        # when
        result = await lives.mark(SessionStatus.TERMINATED, [3, 5, 1, 4, 0, 2])
        # then
        assert result.changed == tuple(session_id(number) for number in (3, 1, 0, 2))
        assert [each.session_id for each in result.rejected] == [session_id(5), session_id(4)]

    async def test_drift_of_one_agent_costs_only_the_sessions_that_run_there(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given one on both agents and one on the second alone, and the first agent's counters wrong
        await lives.given(SessionStatus.PREPARING, SessionStatus.PENDING)
        await lives.scheduler.allocate_sessions(GROUP, [place(1, A2, A2, A2)])
        await lives.repository.mark_preparing([session_id(1)])
        await owner_connection.execute("UPDATE agent_slots SET occupied = 0 WHERE agent_id = 'a1'")
        # when
        result = await lives.repository.mark_running(
            [
                SessionStart(session_id(0), {kernel_id(0): {CPU: 1}}),
                SessionStart(session_id(1), {kernel_id(1): {CPU: 1}}),
            ]
        )
        # then
        (rejection,) = result.rejected
        assert (rejection.code, rejection.agent_id) == (TransitionRejectionCode.LEDGER_DRIFT, A1)
        assert result.changed == (session_id(1),)
        assert await status_of(owner_connection, 0) == ("PREPARING", {"PREPARING"})
        await owner_connection.execute(
            "UPDATE agent_slots SET occupied = CASE slot_name WHEN 'cpu' THEN 6 ELSE 2 END"
            " WHERE agent_id = 'a1'"
        )

    @pytest.mark.parametrize("to_status", MARKED)
    async def test_the_next_read_has_seen_it(self, lives: Lives, to_status: SessionStatus) -> None:
        # given
        await lives.given(SessionStatus.PREPARING, SessionStatus.SCHEDULED)
        before = await lives.scheduler.get_scheduling_data(GROUP)
        # when
        result = await lives.mark(to_status, [0, 1])
        # then
        after = await lives.scheduler.get_scheduling_data(GROUP)
        assert result.changed != ()
        assert result.transaction_id is not None
        assert not before.has_seen(result.transaction_id)
        assert after.has_seen(result.transaction_id)

    async def test_under_a_lease_sessions_of_other_groups_are_left_alone(
        self, lives: Lives, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED, SessionStatus.SCHEDULED)
        await owner_connection.execute(
            "UPDATE sessions SET scaling_group = 'other' WHERE id = $1", session_id(0)
        )
        lease = await LeaseRepository(LeaseDBSource(engine)).acquire_lease(
            GROUP, LeaseHolder("one"), timedelta(minutes=1)
        )
        # when
        result = await lives.repository.mark_preparing([session_id(0), session_id(1)], lease=lease)
        # then
        assert result == TransitionResult(
            SessionStatus.PREPARING,
            (session_id(1),),
            (
                RejectedTransition(
                    session_id(0),
                    TransitionRejectionCode.OTHER_GROUP,
                    SessionStatus.SCHEDULED,
                    detail=f"it is in {OTHER_GROUP}, not in {GROUP}",
                ),
            ),
            result.transaction_id,
        )
