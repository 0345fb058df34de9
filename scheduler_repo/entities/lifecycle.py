"""The life of sessions after placement: the changes that callers ask for, and their outcomes."""

import enum
from collections.abc import Mapping
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS
from scheduler_repo.errors import (
    DatabaseError,
    InvalidInput,
    InvalidQuantity,
    InvalidTransition,
    KernelNotFound,
    LockNotAvailable,
    SchedulerRepoError,
    SessionNotFound,
    UnknownWord,
)
from scheduler_repo.types import (
    AgentId,
    KernelId,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotName,
    TransactionId,
)


class LostSessionAction(enum.StrEnum):
    """Where a session goes that had a kernel on a lost agent: back into the queue, or to ERROR."""

    REQUEUE = "REQUEUE"
    FAIL = "FAIL"


class TransitionRejectionCode(enum.StrEnum):
    """The reason for which one session of a batch was left as it is."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"  # than the lease's
    OTHER_ATTEMPT = "OTHER_ATTEMPT"  # than the one that was named; the report is of an earlier one
    NOT_ALLOWED = "NOT_ALLOWED"  # from its status, by the table of transitions
    KERNEL_UNKNOWN = "KERNEL_UNKNOWN"  # or of another session
    INVALID_AMOUNT = "INVALID_AMOUNT"
    ABOVE_REQUEST = "ABOVE_REQUEST"  # a kernel occupies more than it requested
    UNKNOWN_WORD = "UNKNOWN_WORD"  # a newer version has stored its status; the detail names it
    NO_ATTEMPT_LEFT = "NO_ATTEMPT_LEFT"  # it has come back to the queue 2^31 - 1 times; end it
    LEDGER_DRIFT = "LEDGER_DRIFT"  # its agent's counters are below what its kernels occupy; run the audit
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long; ``locked`` names row and holder


class RejectedTransition(msgspec.Struct, frozen=True):
    """A session that was left as it is; ``status`` is its own, None if it is unknown or was not looked at.

    ``kernel_id`` and ``agent_id`` are set where one is the reason; ``detail`` describes it in words. ``locked``
    is the row that another transaction has locked, if that is the reason.
    """

    session_id: SessionId
    code: TransitionRejectionCode
    status: Optional[SessionStatus] = None
    kernel_id: Optional[KernelId] = None
    agent_id: Optional[AgentId] = None
    detail: str = ""
    locked: Optional[RowLocked] = None

    def to_error(self) -> SchedulerRepoError:
        """Build the typed error for a caller that asked for this one session alone.

        SessionNotFound, KernelNotFound, InvalidTransition (by its status, or a report of another attempt),
        InvalidQuantity, InvalidInput, LockNotAvailable, or DatabaseError where the counters of its agent have
        drifted.
        """
        if self.locked is not None:
            return self.locked.to_error(self.session_id)
        subject = f"session {self.session_id}"
        if self.code is TransitionRejectionCode.NOT_ALLOWED:
            following = () if self.status is None else SESSION_TRANSITIONS[self.status]
            advice = f"may follow: {', '.join(following)}" if following else "it has ended for good"
            return InvalidTransition(
                f"{subject} may not go {self.detail}; {advice}; read it again before deciding anew",
                session_id=self.session_id,
                kernel_id=self.kernel_id,
            )
        kind, words = _ERRORS[self.code]
        found = [] if self.status is None else [f"it is {self.status}"]
        found += [f"kernel {self.kernel_id}"] if self.kernel_id is not None else []
        found += [f"agent {self.agent_id}"] if self.agent_id is not None else []
        found += [self.detail] if self.detail else []
        message = f"{subject} {words}" + (f" ({', '.join(found)})" if found else "")
        named = {"session_id": self.session_id, "kernel_id": self.kernel_id, "agent_id": self.agent_id}
        return kind.about(message, **named)


class RecoveryResult(msgspec.Struct, frozen=True):
    """The outcome for sessions on lost agents, by id: PENDING again, ERROR, or left as they are and why.

    Their kernels on other agents still run: the caller tells these agents to end them.
    """

    requeued: tuple[SessionId, ...]
    failed: tuple[SessionId, ...]
    rejected: tuple[RejectedTransition, ...]
    transaction_id: Optional[TransactionId] = None


class SessionAttempt(msgspec.Struct, frozen=True):
    """One attempt of a session; a report about another one does not count for it.

    Where a report's ``retry_count`` is None, it is of whichever attempt is under way.
    """

    session_id: SessionId
    retry_count: int


class SessionStart(msgspec.Struct, frozen=True):
    """A session whose kernels run.

    ``occupied_slots`` holds what kernels really occupy, in smallest units, where that is less than they
    requested; the rest is given back. Kernels that are left out occupy what they requested.
    """

    session_id: SessionId
    occupied_slots: Mapping[KernelId, Mapping[SlotName, int]] = {}
    retry_count: Optional[int] = None


class SessionEnd(msgspec.Struct, frozen=True):
    """A session whose kernels have ended.

    Sessions that depend on it may start only after SessionResult.SUCCESS; None, for unknown, holds them back
    for good.
    """

    session_id: SessionId
    result: Optional[SessionResult] = None
    exit_codes: Mapping[KernelId, int] = {}
    retry_count: Optional[int] = None


class SessionRetry(msgspec.Struct, frozen=True):
    """A session that goes back to the queue, and the agents on which its attempt failed."""

    session_id: SessionId
    failed_agent_ids: tuple[AgentId, ...] = ()
    retry_count: Optional[int] = None


_ERRORS: Final[Mapping[TransitionRejectionCode, tuple[type[SchedulerRepoError], str]]] = {
    TransitionRejectionCode.DUPLICATE: (InvalidInput, "is named twice in one batch; name it once"),
    TransitionRejectionCode.SESSION_UNKNOWN: (SessionNotFound, "does not exist; correct the id"),
    TransitionRejectionCode.OTHER_GROUP: (
        InvalidInput,
        "is not of the lease's scaling group; give the lease of its own",
    ),
    TransitionRejectionCode.OTHER_ATTEMPT: (
        InvalidTransition,
        "is in another attempt than was named; drop the late report",
    ),
    TransitionRejectionCode.KERNEL_UNKNOWN: (
        KernelNotFound,
        "has no such kernel that has not ended; name its own kernels",
    ),
    TransitionRejectionCode.INVALID_AMOUNT: (InvalidQuantity, "cannot take what was reported of a kernel"),
    TransitionRejectionCode.ABOVE_REQUEST: (
        InvalidQuantity,
        "has a kernel that occupies more than it requested; report at most its request",
    ),
    TransitionRejectionCode.UNKNOWN_WORD: (UnknownWord, "cannot be read; upgrade this version"),
    TransitionRejectionCode.NO_ATTEMPT_LEFT: (
        InvalidTransition,
        "has come back to the queue as often as can be counted; end it, and create another",
    ),
    TransitionRejectionCode.LEDGER_DRIFT: (DatabaseError, "cannot give back what it occupies"),
    TransitionRejectionCode.ROW_LOCKED: (LockNotAvailable, "needs a row that is locked; try it again later"),
}


class TransitionResult(msgspec.Struct, frozen=True):
    """The outcome of a batch: each of its sessions is in one of the two, in the order given."""

    to_status: SessionStatus
    changed: tuple[SessionId, ...]
    rejected: tuple[RejectedTransition, ...]
    transaction_id: Optional[TransactionId] = None


class UndispatchedKernel(msgspec.Struct, frozen=True):
    """A kernel that an agent is to be told to start."""

    kernel_id: KernelId
    kernel_index: int
    agent_id: AgentId
    agent_address: str


class UndispatchedSession(msgspec.Struct, frozen=True):
    """An allocated session whose agents have not been told yet; an agent knows by the attempt if it was."""

    session_id: SessionId
    retry_count: int
    kernels: tuple[UndispatchedKernel, ...]


class DispatchResult(msgspec.Struct, frozen=True):
    """The attempts that this call marked as dispatched; the others had been, or do not wait for it now.

    Those of ``rejected`` that are in ``locked`` too were left for later: another transaction has a row locked.
    """

    dispatched: tuple[SessionId, ...]
    rejected: tuple[SessionId, ...]
    transaction_id: Optional[TransactionId] = None
    locked: tuple[RejectedTransition, ...] = ()
