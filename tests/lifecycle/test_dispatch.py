"""Allocated sessions are handed to their agents once, and an attempt is named by session and retry."""

import asyncio

import pytest

from scheduler_repo.entities.lifecycle import (
    DispatchResult,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
    TransitionRejectionCode,
    UndispatchedKernel,
    UndispatchedSession,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.types import AgentId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Lives
from tests.support.small_cluster import GROUP, OTHER_GROUP, kernel_id, place, session_id


def attempts(*numbers: int, retry_count: int = 0) -> list[SessionAttempt]:
    return [SessionAttempt(session_id(number), retry_count) for number in numbers]


class TestList:
    async def test_names_kernels_and_agents(self, lives: Lives) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED, SessionStatus.PENDING, SessionStatus.RUNNING)
        # when
        listed = await lives.repository.list_undispatched_sessions(GROUP)
        # then
        agents = [AgentId(name) for name in (A1, A2, A1)]
        kernels = tuple(
            UndispatchedKernel(kernel_id(0, index), index, agent, f"tcp://{agent}")
            for index, agent in enumerate(agents)
        )
        assert listed == (UndispatchedSession(session_id(0), 0, kernels),)

    async def test_the_longest_allocated_come_first_up_to_the_limit(self, lives: Lives) -> None:
        # given sessions that were allocated one after the other
        await lives.given(*[SessionStatus.PENDING] * 3)
        for number in (2, 0, 1):
            await lives.scheduler.allocate_sessions(GROUP, [place(number, A1, A2, A1)])
        # when
        listed = await lives.repository.list_undispatched_sessions(GROUP, limit=2)
        # then
        assert [each.session_id for each in listed] == [session_id(2), session_id(0)]
        assert await lives.repository.list_undispatched_sessions(OTHER_GROUP) == ()

    async def test_limit_that_is_none_is_refused(self, lives: Lives) -> None:
        for limit in (0, -1, 2**63, 1.5, "1", True):
            # when / then
            with pytest.raises(InvalidInput, match="limit"):
                await lives.repository.list_undispatched_sessions(GROUP, limit)  # type: ignore[arg-type] # tested


class TestDispatch:
    async def test_each_attempt_once(self, lives: Lives, owner_connection: DriverConnection) -> None:
        # given
        await lives.given(*[SessionStatus.SCHEDULED] * 3)
        # when
        result = await lives.repository.mark_dispatched(attempts(2, 0))
        # then
        assert result == DispatchResult((session_id(2), session_id(0)), (), result.transaction_id)
        listed = await lives.repository.list_undispatched_sessions(GROUP)
        assert [each.session_id for each in listed] == [session_id(1)]
        # when
        again = await lives.repository.mark_dispatched(attempts(0, 1))
        # then
        assert (again.dispatched, again.rejected) == ((session_id(1),), (session_id(0),))
        times = await owner_connection.fetch("SELECT dispatched_at, status FROM sessions")
        assert all(row["dispatched_at"] is not None and row["status"] == "SCHEDULED" for row in times)

    async def test_an_attempt_of_several_callers_is_had_by_one(self, lives: Lives) -> None:
        # given
        await lives.given(*[SessionStatus.SCHEDULED] * 5)
        # when
        results = await asyncio.gather(
            *(
                lives.repository.mark_dispatched(batch)
                for batch in (attempts(*range(5)), attempts(*range(4, -1, -1))) * 2
            )
        )
        # then
        dispatched = [each for result in results for each in result.dispatched]
        assert sorted(dispatched) == [session_id(number) for number in range(5)]

    async def test_only_before_it_runs(self, lives: Lives) -> None:
        # given one of each status; one that prepares may have been told to some of its agents only
        statuses = list(SessionStatus)
        await lives.given(*statuses)
        # when
        result = await lives.repository.mark_dispatched(attempts(*range(len(statuses))))
        # then
        waiting = tuple(
            session_id(statuses.index(each)) for each in (SessionStatus.SCHEDULED, SessionStatus.PREPARING)
        )
        assert result.dispatched == waiting
        assert result.rejected == tuple(
            session_id(number) for number in range(len(statuses)) if session_id(number) not in waiting
        )

    async def test_a_session_that_prepares_is_listed_until_it_is_marked(self, lives: Lives) -> None:
        # given a loop that was killed between two agents, and the report of the one that it had told
        await lives.given(SessionStatus.SCHEDULED)
        await lives.repository.mark_preparing([session_id(0)])
        # when / then the other is told by the next loop
        (listed,) = await lives.repository.list_undispatched_sessions(GROUP)
        assert {kernel.agent_id for kernel in listed.kernels} == {A1, A2}
        assert (await lives.repository.mark_dispatched(attempts(0))).dispatched == (session_id(0),)
        assert await lives.repository.list_undispatched_sessions(GROUP) == ()

    async def test_a_report_of_an_earlier_attempt_changes_nothing(self, lives: Lives) -> None:
        # given a session on its second attempt
        await lives.given(SessionStatus.SCHEDULED)
        await lives.repository.requeue_sessions([SessionRetry(session_id(0), retry_count=0)])
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1)])
        repository, late = lives.repository, SessionAttempt(session_id(0), 0)
        # when the first one's reports come late
        results = [
            await repository.mark_preparing([late]),
            await repository.mark_error([late]),
            await repository.mark_terminated([SessionEnd(session_id(0), retry_count=0)]),
            await repository.requeue_sessions([SessionRetry(session_id(0), retry_count=0)]),
        ]
        # then none of them is taken for the second
        assert [each.code for result in results for each in result.rejected] == [
            TransitionRejectionCode.OTHER_ATTEMPT
        ] * 4
        assert not any(result.changed for result in results)
        # and what is of the second goes through
        assert (await repository.mark_preparing([SessionAttempt(session_id(0), 1)])).changed
        started = await repository.mark_running([SessionStart(session_id(0), retry_count=0)])
        assert [each.code for each in started.rejected] == [TransitionRejectionCode.OTHER_ATTEMPT]
        assert (await repository.mark_running([SessionStart(session_id(0), retry_count=1)])).changed

    async def test_another_attempt_is_not_meant(self, lives: Lives) -> None:
        # given a session on its second attempt
        await lives.given(SessionStatus.SCHEDULED, SessionStatus.SCHEDULED)
        await lives.repository.requeue_sessions([SessionRetry(session_id(0))])
        await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1)])
        # when
        late = await lives.repository.mark_dispatched(attempts(0, 1))
        # then
        assert (late.dispatched, late.rejected) == ((session_id(1),), (session_id(0),))
        # when
        now = await lives.repository.mark_dispatched(attempts(0, retry_count=1))
        # then
        assert now.dispatched == (session_id(0),)

    async def test_it_is_kept_through_the_later_life(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED)
        await lives.repository.mark_dispatched(attempts(0))
        dispatched_at = await owner_connection.fetchval("SELECT dispatched_at FROM sessions")
        for to_status in (SessionStatus.PREPARING, SessionStatus.RUNNING, SessionStatus.TERMINATED):
            # when
            await lives.mark(to_status, [0])
            # then
            assert await owner_connection.fetchval("SELECT dispatched_at FROM sessions") == dispatched_at

    async def test_the_same_attempt_twice_in_a_batch_is_one(self, lives: Lives) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED)
        # when
        result = await lives.repository.mark_dispatched(attempts(0, 0))
        # then
        assert (result.dispatched, result.rejected) == ((session_id(0),), ())
