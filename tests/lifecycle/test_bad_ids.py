"""Ids that are none, or of something else, are refused by name; whatever else is in a batch goes through."""

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID, uuid4

import pytest

from scheduler_repo.entities.lifecycle import (
    DispatchResult,
    SessionAttempt,
    TransitionRejectionCode,
    TransitionResult,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import with_article
from scheduler_repo.types import OperationId, SessionId, SessionStatus
from tests.lifecycle.marking import MARKED, mark
from tests.support.databases import DriverConnection
from tests.support.lives import A1, Lives, history_with_reasons, leaks, rejected
from tests.support.small_cluster import GROUP, PROJECT, USER, kernel_id, session_id

# A status from which each can be reached.
FROM: Final = {
    to_status: SessionStatus.PREPARING if to_status is not SessionStatus.PREPARING else SessionStatus.SCHEDULED
    for to_status in MARKED
}
# None of them is a session.
OTHER_IDS: Final = (UUID(int=0), UUID(int=2**128 - 1), kernel_id(0), USER, PROJECT)
NO_IDS: Final = (A1, str(session_id(0)), session_id(0).int, session_id(0).bytes, None, (session_id(0),))

# Out of range, or no whole number: none may be taken for attempt 0.
NO_ATTEMPTS: Final = (
    *(-1, -(2**31) - 1, 2**31, 2**63, 2**64),
    *(0.0, 0.5, -0.5, False, "0", None, float("nan")),
)


@pytest.fixture(autouse=True)
async def nothing_leaks(owner_connection: DriverConnection) -> AsyncIterator[None]:
    yield
    assert await leaks(owner_connection) == []


@pytest.mark.parametrize("to_status", MARKED)
class TestMarking:
    async def test_unknown_sessions_are_named(self, lives: Lives, to_status: SessionStatus) -> None:
        # given
        await lives.given(FROM[to_status], FROM[to_status])
        strange = [SessionId(each) for each in OTHER_IDS]
        batch = [*strange[:2], session_id(0), *strange[2:], session_id(1)]
        # when
        result = await mark(lives.repository, to_status, batch)
        # then
        assert result.changed == (session_id(0), session_id(1))
        assert [each.session_id for each in result.rejected] == strange
        assert {(each.code, each.status) for each in result.rejected} == {
            (TransitionRejectionCode.SESSION_UNKNOWN, None)
        }

    async def test_what_is_no_id_is_refused(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given
        await lives.given(FROM[to_status])
        before = await history_with_reasons(owner_connection, 0)
        for given_id in NO_IDS:
            # when
            with pytest.raises(InvalidInput) as refusal:
                await mark(lives.repository, to_status, [session_id(0), given_id])  # type: ignore[list-item] # tested
            # then
            assert f"session id {given_id!r:.60} is {with_article(type(given_id))}" in str(refusal.value)
            assert await history_with_reasons(owner_connection, 0) == before

    async def test_the_same_twice_is_done_once(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given one that may go there, and one that may not
        await lives.given(FROM[to_status], SessionStatus.TERMINATED)
        before = await history_with_reasons(owner_connection, 0)
        # when
        result = await lives.mark(to_status, [0, 1, 0, 1, 0])
        # then
        again = TransitionRejectionCode.DUPLICATE
        assert result.changed == (session_id(0),)
        assert [(each.session_id, each.code) for each in result.rejected] == [
            (session_id(1), TransitionRejectionCode.NOT_ALLOWED),
            (session_id(0), again),
            (session_id(1), again),
            (session_id(0), again),
        ]
        assert result.rejected[1] == rejected(0, again)
        assert len(await history_with_reasons(owner_connection, 0)) == len(before) + 1

    async def test_nothing_is_asked_of_an_empty_batch(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # when
        result = await lives.mark(to_status, [])
        # then
        assert result == TransitionResult(to_status, (), ())
        assert await owner_connection.fetchval("SELECT count(*) FROM operations") == 0

    async def test_asking_again_answers_the_same(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given a batch with all that can be wrong with an id
        await lives.given(FROM[to_status], SessionStatus.TERMINATED)
        batch = [session_id(0), session_id(0), session_id(1), SessionId(USER)]
        operation_id = OperationId(uuid4())
        result = await mark(lives.repository, to_status, batch, "once", operation_id)
        before = await history_with_reasons(owner_connection, 0)
        # when
        again = await mark(lives.repository, to_status, batch, "once", operation_id)
        # then
        assert again == result
        assert await history_with_reasons(owner_connection, 0) == before


class TestDispatching:
    async def test_unknown_sessions_are_named(self, lives: Lives) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED, SessionStatus.SCHEDULED)
        strange = [SessionId(each) for each in OTHER_IDS]
        batch = [*strange[:2], session_id(0), *strange[2:], session_id(1)]
        # when
        result = await lives.repository.mark_dispatched([SessionAttempt(each, 0) for each in batch])
        # then
        assert (result.dispatched, result.rejected) == ((session_id(0), session_id(1)), tuple(strange))

    async def test_what_is_no_id_is_refused(self, lives: Lives) -> None:
        # given
        await lives.given(SessionStatus.SCHEDULED)
        for given_id in NO_IDS:
            bad = SessionAttempt(given_id, 0)  # type: ignore[arg-type] # it is what is tested
            # when
            with pytest.raises(InvalidInput) as refusal:
                await lives.repository.mark_dispatched([SessionAttempt(session_id(0), 0), bad])
            # then
            assert f"session id {given_id!r:.60} is {with_article(type(given_id))}" in str(refusal.value)
        assert len(await lives.repository.list_undispatched_sessions(GROUP)) == 1

    async def test_nothing_is_asked_of_an_empty_batch(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # when / then
        assert await lives.repository.mark_dispatched([]) == DispatchResult((), ())
        assert await owner_connection.fetchval("SELECT count(*) FROM operations") == 0

    async def test_an_attempt_that_cannot_be_is_rejected(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        attempts = [
            SessionAttempt(session_id(number), count)  # type: ignore[arg-type] # it is what is tested
            for number, count in enumerate(NO_ATTEMPTS)
        ]
        real = [
            SessionAttempt(session_id(len(NO_ATTEMPTS)), 0),
            SessionAttempt(session_id(len(NO_ATTEMPTS) + 1), 0),
        ]
        await lives.given(*[SessionStatus.SCHEDULED] * (len(NO_ATTEMPTS) + 2))
        # when
        result = await lives.repository.mark_dispatched([real[0], *attempts, real[1]])
        # then
        assert result.dispatched == tuple(each.session_id for each in real)
        assert result.rejected == tuple(each.session_id for each in attempts)
        listed = await lives.repository.list_undispatched_sessions(GROUP)
        assert sorted(each.session_id for each in listed) == sorted(result.rejected)
