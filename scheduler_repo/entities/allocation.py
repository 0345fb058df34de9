"""Allocations: the agents that a tick chose for a session's kernels, and the outcome of writing that."""

import enum
from collections.abc import Mapping
from typing import Final, Optional, Protocol, TypeVar, Union

import msgspec

from scheduler_repo.entities.obstacles import (
    AgentObstacle,
    ArchitectureMismatch,
    ContainerShortage,
    NotDesignated,
    OwnerBreach,
    QuotaKind,
    RowLocked,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import (
    AgentNotFound,
    AllocationRefused,
    InvalidInput,
    InvalidTransition,
    LockNotAvailable,
    QuotaExceeded,
    SchedulerRepoError,
    SessionNotFound,
    UnknownWord,
)
from scheduler_repo.steps import Steps
from scheduler_repo.types import AgentId, KernelId, SessionId, SessionStatus, TransactionId
from scheduler_repo.validation import check_id, check_ids, check_text, checked_batch


class KernelAllocation(msgspec.Struct, frozen=True, gc=False):
    """A kernel and the agent that is to run it."""

    kernel_id: KernelId
    agent_id: AgentId


class SessionAllocation(msgspec.Struct, frozen=True, gc=False):
    """The placement of one session: every one of its kernels, or it is rejected."""

    session_id: SessionId
    kernels: tuple[KernelAllocation, ...]


class Placement(Protocol):
    """A session with the agents of its kernels, be it to allocate or to reserve."""

    @property
    def session_id(self) -> SessionId: ...

    @property
    def kernels(self) -> tuple[KernelAllocation, ...]: ...


PlacementT = TypeVar("PlacementT", bound=Placement)


def checked_placements(given: object, kind: type[PlacementT], subject: str) -> Steps[list[KernelAllocation]]:
    """Return all kernels of a batch of placements; raises InvalidInput for anything else."""
    kernels: list[KernelAllocation] = []
    for placement in checked_batch(given, kind, subject):
        check_id(placement.session_id, "session")
        of_session = f"kernels of session {placement.session_id}"
        of_placement = checked_batch(placement.kernels, KernelAllocation, of_session)
        check_ids([kernel.kernel_id for kernel in of_placement], "kernel")
        for kernel in of_placement:
            check_text(kernel.agent_id, "agent id")
        kernels.extend(of_placement)
        yield
    return kernels


class RejectionCode(enum.StrEnum):
    """The reason for which one session of a batch was not placed."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"
    GROUP_INACTIVE = "GROUP_INACTIVE"
    NOT_PENDING = "NOT_PENDING"  # any more; another scheduler was first, or it was cancelled
    KERNELS_DIFFER = "KERNELS_DIFFER"  # not exactly its pending kernels, each once
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    AGENT_UNAVAILABLE = "AGENT_UNAVAILABLE"  # lost, draining, closed or of another group
    SPREAD = "SPREAD"  # a single-node session on several agents
    AGENT = "AGENT"  # the agent cannot take it; the detail says what is short
    OWNER_LIMIT = "OWNER_LIMIT"
    DEPENDENCY = "DEPENDENCY"
    START_NOT_REACHED = "START_NOT_REACHED"
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long; the detail names row and holder
    UNKNOWN_WORD = "UNKNOWN_WORD"  # a newer version has stored one of the session; the detail names it


RejectionDetail = Union[
    AgentObstacle,
    OwnerBreach,
    SessionDependency,
    StartNotReached,
    RowLocked,
    UnreadableRow,
    SessionStatus,
    None,
]
_ERRORS: Final[Mapping[RejectionCode, tuple[type[SchedulerRepoError], str]]] = {
    RejectionCode.DUPLICATE: (InvalidInput, "is named twice in one batch; name it once"),
    RejectionCode.SESSION_UNKNOWN: (SessionNotFound, "does not exist; correct the id"),
    RejectionCode.OTHER_GROUP: (InvalidInput, "is of another scaling group; allocate it in its own"),
    RejectionCode.GROUP_INACTIVE: (AllocationRefused, "waits: its scaling group is inactive; activate it"),
    RejectionCode.NOT_PENDING: (InvalidTransition, "is not pending any more; read again, decide anew"),
    RejectionCode.KERNELS_DIFFER: (InvalidInput, "is not given each of its kernels once; place them all"),
    RejectionCode.AGENT_UNKNOWN: (AgentNotFound, "was given an agent that does not exist; correct the id"),
    RejectionCode.AGENT_UNAVAILABLE: (
        AllocationRefused,
        "was given an agent that takes no kernels of its group now; choose another",
    ),
    RejectionCode.SPREAD: (
        AllocationRefused,
        "is for a single node and was given several agents; choose one for all kernels",
    ),
    RejectionCode.AGENT: (AllocationRefused, "does not fit on the agent; choose another, or wait"),
    RejectionCode.OWNER_LIMIT: (QuotaExceeded, "would pass a limit of its owner; wait, or raise the limit"),
    RejectionCode.DEPENDENCY: (AllocationRefused, "depends on a session that has not succeeded; wait for it"),
    RejectionCode.START_NOT_REACHED: (AllocationRefused, "asked to start later; wait until then"),
    RejectionCode.ROW_LOCKED: (LockNotAvailable, "needs a row that is locked; try it again in the next tick"),
    RejectionCode.UNKNOWN_WORD: (UnknownWord, "cannot be read; upgrade this version"),
}


class RejectedAllocation(msgspec.Struct, frozen=True):
    """A session that was not placed; ``agent_id`` is set where one agent is the reason."""

    session_id: SessionId
    code: RejectionCode
    agent_id: Optional[AgentId] = None
    detail: RejectionDetail = None

    def to_error(self) -> SchedulerRepoError:
        """Build the typed error for a caller that asked for this one session alone.

        SessionNotFound, AgentNotFound, InvalidTransition (it is not pending), QuotaExceeded, LockNotAvailable,
        InvalidInput (the request is wrong whatever the state), else AllocationRefused. Amounts are in the
        slot's smallest unit.
        """
        if isinstance(self.detail, RowLocked):
            return self.detail.to_error(self.session_id)
        kind, words = _ERRORS[self.code]
        found = [] if self.agent_id is None else [f"agent {self.agent_id}"]
        found += [] if self.detail is None else [_detail_text(self.detail)]
        message = f"session {self.session_id} {words}" + (f" ({', '.join(found)})" if found else "")
        named: dict[str, object] = {"session_id": self.session_id, "agent_id": self.agent_id}
        if isinstance(self.detail, OwnerBreach):
            named |= {"scope": self.detail.scope, "owner_id": self.detail.owner_id}
        return kind.about(message, **named)


def _detail_text(detail: RejectionDetail) -> str:
    match detail:
        case SlotShortage(slot_index=index, requested=requested, available=available):
            return f"slot index {index}: requested {requested}, free {available}"
        case ContainerShortage(requested=requested, used=used, limit=limit):
            return f"containers: requested {requested}, used {used} of {limit}"
        case ArchitectureMismatch(requested=requested, available=available):
            return f"requested {requested}, the agent is {available}"
        case NotDesignated(designated_agent_ids=designated):
            return f"designated: {', '.join(designated)}"
        case OwnerBreach(scope=scope, owner_id=owner_id, breach=breach):
            limited = f"slot index {breach.slot_index}" if breach.kind is QuotaKind.SLOT else breach.kind
            return (
                f"{scope} {owner_id}, {limited}: used {breach.used}, requested {breach.requested}, "
                f"limit {breach.limit}"
            )
        case SessionDependency(depends_on=depends_on, status=status):
            return f"session {depends_on}, which {'is gone' if status is None else f'is {status}'}"
        case RowLocked():
            return detail.describe()
        case StartNotReached(requested_start_at=requested_at, observed_at=observed_at):
            return f"at {requested_at.isoformat()}, it is {observed_at.isoformat()}"
        case UnreadableRow(problem=problem):
            return problem
        case _:
            return f"it is {detail}"


class AllocationResult(msgspec.Struct, frozen=True):
    """The outcome of a batch: each of its sessions is in one of the two, in the order given."""

    allocated: tuple[SessionId, ...]
    rejected: tuple[RejectedAllocation, ...]
    transaction_id: Optional[TransactionId] = None
