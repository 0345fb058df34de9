"""Every status to every other: what the table allows is done, with its history and slots; the rest is named."""

from collections.abc import AsyncIterator

import pytest

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode
from scheduler_repo.entities.lifecycle import TransitionRejectionCode
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.types import OCCUPYING_STATUSES, SessionStatus
from tests.lifecycle.marking import MARKED, WITHOUT_REASON
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Kernel, Lives, history_with_reasons, kernels_of, leaks, rejected
from tests.support.small_cluster import GROUP, Ledger, ledger_of, place, session_id, status_of

STATUSES = list(SessionStatus)
NUMBERS = range(len(STATUSES))
SESSION_IDS = tuple(session_id(number) for number in NUMBERS)


@pytest.fixture(autouse=True)
async def nothing_leaks(owner_connection: DriverConnection) -> AsyncIterator[None]:
    yield
    assert await leaks(owner_connection) == []


class TestEveryTransition:
    """Each batch holds one session in every status, with kernels on two agents."""

    @pytest.mark.parametrize("to_status", MARKED)
    async def test_as_the_table_says(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given
        await lives.given(*STATUSES)
        before = [await history_with_reasons(owner_connection, number) for number in NUMBERS]
        allowed = [number for number in NUMBERS if is_allowed(SESSION_TRANSITIONS, STATUSES[number], to_status)]
        # when
        result = await lives.mark(to_status, NUMBERS, "as asked")
        # then the answer names each session once
        assert result.to_status is to_status
        assert result.changed == tuple(session_id(number) for number in allowed)
        assert result.rejected == tuple(
            rejected(
                number,
                TransitionRejectionCode.NOT_ALLOWED,
                STATUSES[number],
                detail=f"from {STATUSES[number]} to {to_status}",
            )
            for number in NUMBERS
            if number not in allowed
        )
        # then each that was allowed has moved with its kernels, and left one history row
        reason = None if to_status in WITHOUT_REASON else "as asked"
        for number in NUMBERS:
            is_now = to_status if number in allowed else STATUSES[number]
            row = [(STATUSES[number].value, to_status.value, reason)] if number in allowed else []
            assert await status_of(owner_connection, number) == (is_now, {is_now})
            assert await history_with_reasons(owner_connection, number) == before[number] + row
        # then the agents hold what those sessions hold that occupy them now
        occupying = sum(
            (to_status if number in allowed else STATUSES[number]) in OCCUPYING_STATUSES for number in NUMBERS
        )
        assert await ledger_of(owner_connection, A1) == Ledger(6 * occupying, 2 * occupying, 2 * occupying)
        assert await ledger_of(owner_connection, A2) == Ledger(3 * occupying, occupying, occupying)

    async def test_only_pending_sessions_are_allocated(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(*STATUSES)
        before = [await history_with_reasons(owner_connection, number) for number in NUMBERS]
        # when
        allocations = [place(number, A1, A2, A1) for number in NUMBERS]
        result = await lives.scheduler.allocate_sessions(GROUP, allocations)
        # then
        assert result.allocated == (session_id(0),)
        assert result.rejected == tuple(
            RejectedAllocation(session_id(number), RejectionCode.NOT_PENDING, detail=STATUSES[number])
            for number in NUMBERS[1:]
        )
        assert await history_with_reasons(owner_connection, 0) == [*before[0], ("PENDING", "SCHEDULED", None)]
        for number in NUMBERS[1:]:
            assert await history_with_reasons(owner_connection, number) == before[number]

    @pytest.mark.parametrize("to_status", MARKED)
    async def test_again_is_not_allowed(self, lives: Lives, to_status: SessionStatus) -> None:
        # given sessions that have just moved
        await lives.given(*STATUSES)
        moved = await lives.mark(to_status, NUMBERS)
        # when
        again = await lives.mark(to_status, NUMBERS)
        # then none follows itself
        assert moved.changed != ()
        assert again.changed == ()
        assert [each.session_id for each in again.rejected] == list(SESSION_IDS)
        assert {each.code for each in again.rejected} == {TransitionRejectionCode.NOT_ALLOWED}

    @pytest.mark.parametrize("to_status", MARKED)
    async def test_kernels_keep_their_agents_until_they_are_queued_again(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given a session that may go anywhere but RUNNING, and one that may go there
        await lives.given(SessionStatus.SCHEDULED, SessionStatus.PREPARING)
        number = 1 if to_status is SessionStatus.RUNNING else 0
        # when
        await lives.mark(to_status, [number])
        # then
        kernels = await kernels_of(owner_connection, number)
        if to_status is SessionStatus.PENDING:
            assert kernels == [Kernel("PENDING", None, (), None)] * 3
        else:
            assert kernels == [
                Kernel(to_status, A1, (2, 1), None),
                Kernel(to_status, A2, (3, 1), None),
                Kernel(to_status, A1, (4, 1), None),
            ]
