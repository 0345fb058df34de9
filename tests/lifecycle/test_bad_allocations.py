"""Allocations that name what is not there are rejected one by one; what is no id is refused by name."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from scheduler_repo.entities.allocation import (
    AllocationResult,
    KernelAllocation,
    RejectedAllocation,
    RejectionCode,
    SessionAllocation,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import with_article
from scheduler_repo.types import AgentId, KernelId, SessionId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.lives import A1, A2, Lives, history_with_reasons, leaks
from tests.support.small_cluster import GROUP, USER, kernel_id, place, session_id, status_of

NUL = "a\x00b"
SURROGATE = "a\ud800b"


@pytest.fixture(autouse=True)
async def nothing_leaks(owner_connection: DriverConnection) -> AsyncIterator[None]:
    yield
    assert await leaks(owner_connection) == []


class TestItemByItem:
    """The batch holds an allocation that cannot be done between two that can."""

    @pytest.fixture(autouse=True)
    async def three_that_wait(self, lives: Lives) -> None:
        await lives.given(*[SessionStatus.PENDING] * 3)

    async def allocate(self, lives: Lives, bad: SessionAllocation) -> RejectedAllocation:
        result = await lives.scheduler.allocate_sessions(
            GROUP, [place(0, A1, A2, A1), bad, place(2, A1, A2, A1)]
        )
        assert result.allocated == (session_id(0), session_id(2))
        (rejection,) = result.rejected
        return rejection

    @pytest.mark.parametrize("stranger", [UUID(int=0), kernel_id(1), USER, session_id(9)])
    async def test_unknown_session(self, lives: Lives, stranger: UUID) -> None:
        # when
        bad = SessionAllocation(SessionId(stranger), (KernelAllocation(kernel_id(1), AgentId(A1)),))
        rejection = await self.allocate(lives, bad)
        # then
        assert rejection == RejectedAllocation(SessionId(stranger), RejectionCode.SESSION_UNKNOWN)

    async def test_no_kernels(self, lives: Lives, owner_connection: DriverConnection) -> None:
        # when
        rejection = await self.allocate(lives, SessionAllocation(session_id(1), ()))
        # then
        assert rejection == RejectedAllocation(session_id(1), RejectionCode.KERNELS_DIFFER)
        assert await status_of(owner_connection, 1) == ("PENDING", {"PENDING"})

    @pytest.mark.parametrize("stranger", [kernel_id(0, 2), kernel_id(9), session_id(1)])
    async def test_kernel_that_is_not_its_own(self, lives: Lives, stranger: KernelId) -> None:
        # when
        kernel_ids = [kernel_id(1), kernel_id(1, 1), stranger]
        bad = SessionAllocation(
            session_id(1), tuple(KernelAllocation(each, AgentId(A1)) for each in kernel_ids)
        )
        rejection = await self.allocate(lives, bad)
        # then
        assert rejection == RejectedAllocation(session_id(1), RejectionCode.KERNELS_DIFFER)

    @pytest.mark.parametrize("name", ["", "A1", str(session_id(1)), "'; --"])
    async def test_unknown_agent(self, lives: Lives, name: str) -> None:
        # when
        rejection = await self.allocate(lives, place(1, A1, A2, name))
        # then
        assert (rejection.code, rejection.agent_id) == (RejectionCode.AGENT_UNKNOWN, name)


class TestRefusals:
    """Nothing of the batch is written."""

    @pytest.fixture(autouse=True)
    async def nothing_is_written(self, lives: Lives, owner_connection: DriverConnection) -> AsyncIterator[None]:
        await lives.given(*[SessionStatus.PENDING] * 2)
        yield
        for number in (0, 1):
            assert await history_with_reasons(owner_connection, number) == [(None, "PENDING", None)]

    @pytest.mark.parametrize("given_id", [A1, str(session_id(1)), session_id(1).int, None], ids=repr)
    async def test_session_id_that_is_none(self, lives: Lives, given_id: SessionId) -> None:
        # given
        bad = SessionAllocation(given_id, place(1, A1, A2, A1).kernels)
        # when
        with pytest.raises(InvalidInput) as refusal:
            await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1), bad])
        # then
        assert f"session id {given_id!r} is {with_article(type(given_id))}" in str(refusal.value)

    @pytest.mark.parametrize("given_id", [A1, str(kernel_id(1)), kernel_id(1).bytes, None], ids=repr)
    async def test_kernel_id_that_is_none(self, lives: Lives, given_id: KernelId) -> None:
        # given
        bad = SessionAllocation(session_id(1), (KernelAllocation(given_id, AgentId(A1)),))
        # when
        with pytest.raises(InvalidInput) as refusal:
            await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1), bad])
        # then
        assert f"kernel id {given_id!r:.60} is {with_article(type(given_id))}" in str(refusal.value)

    @pytest.mark.parametrize("name", [None, 7, b"a1", UUID(int=7), NUL, SURROGATE], ids=ascii)
    async def test_agent_id_that_is_none(self, lives: Lives, name: str) -> None:
        # when
        with pytest.raises(InvalidInput) as refusal:
            await lives.scheduler.allocate_sessions(GROUP, [place(0, A1, A2, A1), place(1, A1, A2, name)])
        # then
        assert f"agent id {name!a}" in str(refusal.value)

    async def test_nothing_is_asked_of_an_empty_batch(
        self, lives: Lives, owner_connection: DriverConnection
    ) -> None:
        # when
        result = await lives.scheduler.allocate_sessions(GROUP, ())
        # then
        assert result == AllocationResult((), ())
        assert (
            await owner_connection.fetchval("SELECT count(*) FROM operations WHERE kind = 'allocate_sessions'")
            == 0
        )
