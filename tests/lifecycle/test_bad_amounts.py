"""Amounts, exit codes, kernels and words that cannot be stored are named; the rest of a batch goes through."""

import re
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any, Final, Optional
from uuid import UUID, uuid4

import pytest

from scheduler_repo.entities.lifecycle import (
    RejectedTransition,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
    TransitionRejectionCode,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import with_article
from scheduler_repo.types import AgentId, KernelId, OperationId, SessionResult, SessionStatus, SlotName
from tests.lifecycle.marking import MARKED, WITHOUT_REASON, mark
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Lives, history_with_reasons, kernels_of, leaks, rejected
from tests.support.small_cluster import CPU, MEM, Ledger, kernel_id, ledger_of, session_id, status_of

WITH_REASON: Final = tuple(status for status in MARKED if status not in WITHOUT_REASON)
LARGEST: Final = 2**63 - 1
SURROGATE: Final = "a\ud800b"
NUL: Final = "a\x00b"

# What is no amount, and what is said of it.
NO_AMOUNTS: Final[tuple[tuple[Any, str], ...]] = (
    (-1, "-1 is negative"),
    (-(2**63) - 1, "is negative"),
    (2**63, "9223372036854775808 is above 2^63 - 1"),
    (float("nan"), "nan is not a whole number"),
    (float("inf"), "inf is not a whole number"),
    (1.5, "1.5 is not a whole number"),
    (1.0, "1.0 is not a whole number"),
    (True, "True is not a whole number"),
    ("1", "'1' is not a whole number"),
    (Decimal(1), "Decimal('1') is not a whole number"),
    (None, "None is not a whole number"),
)


@pytest.fixture(autouse=True)
async def nothing_leaks(owner_connection: DriverConnection) -> AsyncIterator[None]:
    yield
    assert await leaks(owner_connection) == []


def only(rejections: tuple[RejectedTransition, ...]) -> RejectedTransition:
    (rejection,) = rejections
    return rejection


class TestAmounts:
    """The batch holds a session that cannot be started, 1, between two that can."""

    @pytest.fixture(autouse=True)
    async def batch(self, lives: Lives, owner_connection: DriverConnection) -> AsyncIterator[None]:
        await lives.given(*[SessionStatus.PREPARING] * 3)
        yield
        # then nothing of the rejected session has changed, though its first kernel was in order
        assert await status_of(owner_connection, 1) == ("PREPARING", {"PREPARING"})
        assert [each.occupied_slots for each in await kernels_of(owner_connection, 1)] == [
            (2, 1),
            (3, 1),
            (4, 1),
        ]
        assert len(await history_with_reasons(owner_connection, 1)) == 3
        # then the others run with what they said
        assert [(await status_of(owner_connection, number))[0] for number in (0, 2)] == ["RUNNING", "RUNNING"]
        assert await ledger_of(owner_connection, A1) == Ledger(
            cpu=1 + 4 + 6 + 6, mem=0 + 1 + 2 + 2, containers=6
        )

    async def start(
        self, lives: Lives, bad: dict[KernelId, dict[SlotName, int]], operation_id: Optional[OperationId] = None
    ) -> RejectedTransition:
        first = SessionStart(session_id(0), {kernel_id(0): {CPU: 1}})
        second = SessionStart(session_id(1), {kernel_id(1): {CPU: 1}, **bad})
        result = await lives.repository.mark_running(
            [first, second, SessionStart(session_id(2))], operation_id=operation_id
        )
        assert result.changed == (session_id(0), session_id(2))
        return only(result.rejected)

    @pytest.mark.parametrize(("amount", "words"), NO_AMOUNTS[:1])
    async def test_that_is_none(self, lives: Lives, amount: int, words: str) -> None:
        # when
        rejection = await self.start(lives, {kernel_id(1, 1): {MEM: 1, CPU: amount}})
        # then
        assert rejection.code is TransitionRejectionCode.INVALID_AMOUNT
        assert (rejection.kernel_id, rejection.agent_id) == (kernel_id(1, 1), A2)
        assert rejection.status is SessionStatus.PREPARING
        assert f"kernel {kernel_id(1, 1)}, slot cpu: " in rejection.detail
        assert words in rejection.detail

    @pytest.mark.parametrize("name", ["gpu", "CPU", "", NUL, SURROGATE], ids=ascii)
    async def test_of_a_slot_that_the_cluster_does_not_have(self, lives: Lives, name: str) -> None:
        # when it is asked for twice, as after an answer that was lost
        operation_id = OperationId(uuid4())
        bad = {kernel_id(1, 1): {CPU: 1, SlotName(name): 0}}
        rejection = await self.start(lives, bad, operation_id)
        again = await self.start(lives, bad, operation_id)
        # then
        assert rejection == again
        assert rejection.code is TransitionRejectionCode.INVALID_AMOUNT
        assert rejection.kernel_id == kernel_id(1, 1)
        assert "unknown slot" in rejection.detail
        assert "the cluster has cpu, mem" in rejection.detail

    @pytest.mark.parametrize(("amount", "slot"), [(4, CPU), (LARGEST, CPU), (2, MEM), (LARGEST, MEM)])
    async def test_above_the_request(self, lives: Lives, amount: int, slot: SlotName) -> None:
        # when
        rejection = await self.start(lives, {kernel_id(1, 1): {slot: amount}})
        # then
        assert rejection == rejected(
            1,
            TransitionRejectionCode.ABOVE_REQUEST,
            SessionStatus.PREPARING,
            kernel=kernel_id(1, 1),
            agent_id=A2,
            detail=f"slot {slot}: occupies {amount}, requested {3 if slot == CPU else 1}",
        )

    @pytest.mark.parametrize(
        "stranger",
        [kernel_id(0, 1), kernel_id(9), UUID(int=0), session_id(1)],
        ids=["of a session of the batch", "of none", "zero", "a session"],
    )
    async def test_of_a_kernel_that_is_not_its_own(self, lives: Lives, stranger: KernelId) -> None:
        # when
        rejection = await self.start(lives, {stranger: {CPU: 1}})
        # then
        assert rejection == rejected(
            1, TransitionRejectionCode.KERNEL_UNKNOWN, SessionStatus.PREPARING, kernel=stranger
        )


class TestNoAmounts:
    async def test_each_is_named(self, lives: Lives) -> None:
        # given
        numbers = range(len(NO_AMOUNTS))
        await lives.given(*[SessionStatus.PREPARING] * len(numbers))
        # when
        starts = [
            SessionStart(session_id(number), {kernel_id(number, 1): {MEM: 1, CPU: amount}})
            for number, (amount, _) in zip(numbers, NO_AMOUNTS, strict=True)
        ]
        result = await lives.repository.mark_running(starts)
        # then
        assert result.changed == ()
        assert [each.session_id for each in result.rejected] == [session_id(number) for number in numbers]
        for each, (_, words) in zip(result.rejected, NO_AMOUNTS, strict=True):
            assert each.code is TransitionRejectionCode.INVALID_AMOUNT
            assert words in each.detail


class TestKernelIds:
    @pytest.mark.parametrize("stranger", [A1, str(kernel_id(0)), SURROGATE, 7, None], ids=ascii)
    async def test_that_are_none_are_refused(
        self, lives: Lives, owner_connection: DriverConnection, stranger: KernelId
    ) -> None:
        # given
        await lives.given(SessionStatus.PREPARING)
        words = re.escape(f"session {session_id(0)}: kernel id {stranger!r} is {with_article(type(stranger))}")
        # when / then
        with pytest.raises(InvalidInput, match=words):
            await lives.repository.mark_running([SessionStart(session_id(0), {stranger: {CPU: 1}})])
        with pytest.raises(InvalidInput, match=words):
            await lives.repository.mark_terminated([SessionEnd(session_id(0), exit_codes={stranger: 0})])
        assert await status_of(owner_connection, 0) == ("PREPARING", {"PREPARING"})


class TestNumbersOfMoreDigitsThanCanBeWritten:
    async def test_are_refused(self, lives: Lives, owner_connection: DriverConnection) -> None:
        # given
        await lives.given(SessionStatus.PREPARING)
        # when / then
        with pytest.raises(InvalidInput, match="digits"):
            await lives.repository.mark_running([SessionStart(session_id(0), {kernel_id(0): {CPU: 10**5000}})])
        with pytest.raises(InvalidInput, match="digits"):
            await lives.repository.mark_terminated([SessionEnd(session_id(0), None, {kernel_id(0): 10**5000})])
        with pytest.raises(InvalidInput, match="digits"):
            await lives.repository.mark_dispatched([SessionAttempt(session_id(0), 10**5000)])
        assert await status_of(owner_connection, 0) == ("PREPARING", {"PREPARING"})


class TestExitCodes:
    @pytest.mark.parametrize(
        "code",
        [2**31, -(2**31) - 1, 2**63, 2**64, 1.0, float("nan"), True, "0"],
        ids=repr,
    )
    async def test_that_is_none(self, lives: Lives, owner_connection: DriverConnection, code: int) -> None:
        # given
        await lives.given(*[SessionStatus.RUNNING] * 3)
        bad = SessionEnd(session_id(1), SessionResult.SUCCESS, {kernel_id(1): 0, kernel_id(1, 2): code})
        # when
        result = await lives.repository.mark_terminated(
            [SessionEnd(session_id(0)), bad, SessionEnd(session_id(2))]
        )
        # then
        assert result.changed == (session_id(0), session_id(2))
        rejection = only(result.rejected)
        assert rejection.code is TransitionRejectionCode.INVALID_AMOUNT
        assert (rejection.kernel_id, rejection.agent_id) == (kernel_id(1, 2), A1)
        assert f"kernel {kernel_id(1, 2)}, exit code is " in rejection.detail
        assert "it must be a whole number of 32 bits" in rejection.detail
        assert await status_of(owner_connection, 1) == ("RUNNING", {"RUNNING"})
        assert [each.exit_code for each in await kernels_of(owner_connection, 1)] == [None, None, None]

    async def test_of_a_kernel_of_another_session(self, lives: Lives) -> None:
        # given
        await lives.given(*[SessionStatus.RUNNING] * 2)
        # when
        result = await lives.repository.mark_terminated(
            [SessionEnd(session_id(0), exit_codes={kernel_id(1): 0}), SessionEnd(session_id(1))]
        )
        # then
        assert result.changed == (session_id(1),)
        assert result.rejected == (
            rejected(0, TransitionRejectionCode.KERNEL_UNKNOWN, SessionStatus.RUNNING, kernel=kernel_id(1)),
        )

    async def test_a_result_that_is_none_is_refused(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.RUNNING)
        end = SessionEnd(session_id(0), "UNDEFINED")  # type: ignore[arg-type] # it is what is tested
        # when / then
        with pytest.raises(InvalidInput, match="UNDEFINED"):
            await lives.repository.mark_terminated([end])
        assert await status_of(owner_connection, 0) == ("RUNNING", {"RUNNING"})


@pytest.mark.parametrize("to_status", WITH_REASON)
class TestReasons:
    async def test_that_cannot_be_stored(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given
        await lives.given(SessionStatus.PREPARING)
        before = await history_with_reasons(owner_connection, 0)
        for reason in (NUL, SURROGATE, 7):
            # when
            with pytest.raises(InvalidInput, match=r"^the reason ") as refusal:
                await mark(lives.repository, to_status, [session_id(0)], reason)  # type: ignore[arg-type] # tested
            # then it says so in words that can be printed
            assert str(refusal.value).isprintable()
            assert await history_with_reasons(owner_connection, 0) == before

    async def test_of_any_words_is_kept_as_it_is(
        self, lives: Lives, owner_connection: DriverConnection, to_status: SessionStatus
    ) -> None:
        # given
        reasons = ("", "'; DROP TABLE sessions; --", "早い $1 \\ %s {}", "x" * 100_000)
        await lives.given(*[SessionStatus.PREPARING] * len(reasons))
        for number, reason in enumerate(reasons):
            # when
            await mark(lives.repository, to_status, [session_id(number)], reason)
            # then
            last = (await history_with_reasons(owner_connection, number))[-1]
            assert last == ("PREPARING", to_status, reason)


class TestFailedAgents:
    async def test_what_is_no_agents_id_is_refused(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.RUNNING)
        for name in ("", NUL, SURROGATE, 7, None):
            retry = SessionRetry(session_id(0), (AgentId(A1), name))  # type: ignore[arg-type] # it is what is tested
            # when
            with pytest.raises(InvalidInput) as refusal:
                await lives.repository.requeue_sessions([retry])
            # then
            assert f"session {session_id(0)}: agent id {name!a}" in str(refusal.value)
        assert await status_of(owner_connection, 0) == ("RUNNING", {"RUNNING"})

    async def test_one_string_is_not_taken_apart_by_letters(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # given
        await lives.given(SessionStatus.RUNNING)
        # when
        with pytest.raises(InvalidInput, match="a1"):
            await lives.repository.requeue_sessions(
                [SessionRetry(session_id(0), A1)]  # type: ignore[arg-type] # it is what is tested
            )
        # then
        assert await owner_connection.fetchval("SELECT failed_agent_ids FROM sessions") == []
