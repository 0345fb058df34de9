"""Every reason in a partial answer has its typed error, which names the session and says what was found."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, Optional
from uuid import UUID

import pytest

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode, RejectionDetail
from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode
from scheduler_repo.entities.obstacles import (
    ArchitectureMismatch,
    ContainerShortage,
    NotDesignated,
    OwnerBreach,
    QuotaBreach,
    QuotaKind,
    RowLocked,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.errors import (
    AgentNotFound,
    AllocationRefused,
    DatabaseError,
    InvalidInput,
    InvalidQuantity,
    InvalidTransition,
    KernelNotFound,
    LockNotAvailable,
    QuotaExceeded,
    SchedulerRepoError,
    SessionNotFound,
    UnknownWord,
)
from scheduler_repo.types import AgentId, Architecture, KernelId, OwnerScope, SessionId, SessionStatus

SESSION: Final = SessionId(UUID(int=1))
KERNEL: Final = KernelId(UUID(int=2))
AGENT: Final = AgentId("node-1")
NOON: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)

TRANSITIONS: Final[dict[TransitionRejectionCode, type[SchedulerRepoError]]] = {
    TransitionRejectionCode.UNKNOWN_WORD: UnknownWord,
    TransitionRejectionCode.NO_ATTEMPT_LEFT: InvalidTransition,
    TransitionRejectionCode.DUPLICATE: InvalidInput,
    TransitionRejectionCode.SESSION_UNKNOWN: SessionNotFound,
    TransitionRejectionCode.OTHER_GROUP: InvalidInput,
    TransitionRejectionCode.OTHER_ATTEMPT: InvalidTransition,
    TransitionRejectionCode.NOT_ALLOWED: InvalidTransition,
    TransitionRejectionCode.KERNEL_UNKNOWN: KernelNotFound,
    TransitionRejectionCode.INVALID_AMOUNT: InvalidQuantity,
    TransitionRejectionCode.ABOVE_REQUEST: InvalidQuantity,
    TransitionRejectionCode.LEDGER_DRIFT: DatabaseError,
    TransitionRejectionCode.ROW_LOCKED: LockNotAvailable,
}
ALLOCATIONS: Final[dict[RejectionCode, type[SchedulerRepoError]]] = {
    RejectionCode.DUPLICATE: InvalidInput,
    RejectionCode.SESSION_UNKNOWN: SessionNotFound,
    RejectionCode.OTHER_GROUP: InvalidInput,
    RejectionCode.GROUP_INACTIVE: AllocationRefused,
    RejectionCode.NOT_PENDING: InvalidTransition,
    RejectionCode.KERNELS_DIFFER: InvalidInput,
    RejectionCode.AGENT_UNKNOWN: AgentNotFound,
    RejectionCode.AGENT_UNAVAILABLE: AllocationRefused,
    RejectionCode.SPREAD: AllocationRefused,
    RejectionCode.AGENT: AllocationRefused,
    RejectionCode.OWNER_LIMIT: QuotaExceeded,
    RejectionCode.DEPENDENCY: AllocationRefused,
    RejectionCode.START_NOT_REACHED: AllocationRefused,
    RejectionCode.ROW_LOCKED: LockNotAvailable,
    RejectionCode.UNKNOWN_WORD: UnknownWord,
}


def breach(kind: QuotaKind, slot_index: Optional[int] = None) -> OwnerBreach:
    return OwnerBreach(OwnerScope.USER, "ada", QuotaBreach(kind, slot_index, used=3, requested=2, limit=4))


class TestRejectionsAsErrors:
    @pytest.mark.parametrize("code", TransitionRejectionCode)
    def test_a_transition(self, code: TransitionRejectionCode) -> None:
        # when
        rejected = RejectedTransition(SESSION, code, SessionStatus.RUNNING, KERNEL, AGENT, "what was found")
        error = rejected.to_error()
        # then
        assert type(error) is TRANSITIONS[code]
        assert str(SESSION) in str(error)
        assert "what was found" in str(error)

    @pytest.mark.parametrize("code", RejectionCode)
    def test_an_allocation(self, code: RejectionCode) -> None:
        # when
        error = RejectedAllocation(SESSION, code, AGENT).to_error()
        # then
        assert type(error) is ALLOCATIONS[code]
        assert str(SESSION) in str(error)
        assert "agent node-1" in str(error)

    @pytest.mark.parametrize(
        ("detail", "words"),
        [
            (SlotShortage(1, 5, 2), "slot index 1: requested 5, free 2"),
            (ContainerShortage(2, 7, 8), "containers: requested 2, used 7 of 8"),
            (
                ArchitectureMismatch(Architecture("x86_64"), Architecture("arm")),
                "requested x86_64, the agent is arm",
            ),
            (NotDesignated(AGENT, (AgentId("a"), AgentId("b"))), "designated: a, b"),
            (breach(QuotaKind.SLOT, 0), "USER ada, slot index 0: used 3, requested 2, limit 4"),
            (breach(QuotaKind.CONCURRENT_SESSIONS), "USER ada, CONCURRENT_SESSIONS: used 3"),
            (SessionDependency(SESSION, None, None), f"session {SESSION}, which is gone"),
            (SessionDependency(SESSION, SessionStatus.RUNNING, None), "which is RUNNING"),
            (StartNotReached(NOON, NOON), "at 2026-01-01T12:00:00+00:00, it is"),
            (SessionStatus.CANCELLED, "it is CANCELLED"),
            (RowLocked("agents", "a1", (7, 8)), f"{SESSION}: row a1 of agents is locked by processes 7, 8"),
        ],
    )
    def test_what_was_found(self, detail: RejectionDetail, words: str) -> None:
        error = RejectedAllocation(SESSION, RejectionCode.AGENT, None, detail).to_error()
        assert words in str(error)

    def test_what_the_table_allows_is_said(self) -> None:
        # given
        def rejected(status: SessionStatus) -> Callable[[], SchedulerRepoError]:
            code, detail = TransitionRejectionCode.NOT_ALLOWED, f"from {status} to RUNNING"
            return RejectedTransition(SESSION, code, status, detail=detail).to_error

        # then
        assert "from PENDING to RUNNING; may follow: SCHEDULED, CANCELLED, ERROR;" in str(
            rejected(SessionStatus.PENDING)()
        )
        assert "it has ended for good" in str(rejected(SessionStatus.ERROR)())
