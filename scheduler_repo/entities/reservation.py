"""Reservations: capacity held for pending sessions while others end, and the outcome of asking for it."""

import enum
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.obstacles import (
    AgentObstacle,
    OwnerBreach,
    Protection,
    RowLocked,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.types import AgentId, SessionId, SessionStatus, TransactionId


class SessionReservation(msgspec.Struct, frozen=True, gc=False):
    """The agents that a pending session gets once its ``victims`` have ended; none if enough is ending."""

    session_id: SessionId
    kernels: tuple[KernelAllocation, ...]
    victims: tuple[SessionId, ...] = ()


class ReservationRejectionCode(enum.StrEnum):
    """The reason for which a session of a batch was not reserved for; the first are RejectionCode's."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"
    GROUP_INACTIVE = "GROUP_INACTIVE"
    NOT_PENDING = "NOT_PENDING"
    KERNELS_DIFFER = "KERNELS_DIFFER"  # not exactly its pending kernels, each once
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    AGENT_UNAVAILABLE = "AGENT_UNAVAILABLE"  # lost, draining, closed or of another group
    SPREAD = "SPREAD"  # a single-node session on several agents
    AGENT = "AGENT"  # it will not have enough when all that ends on it has ended; the detail says what is short
    OWNER_LIMIT = "OWNER_LIMIT"  # would be passed, with what ends given back and what is held counted
    DEPENDENCY = "DEPENDENCY"
    START_NOT_REACHED = "START_NOT_REACHED"
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long; the detail names row and holder
    UNKNOWN_WORD = "UNKNOWN_WORD"  # a newer version has stored one of the session; the detail names it
    ALREADY_RESERVED = "ALREADY_RESERVED"  # release it first
    VICTIM_UNKNOWN = "VICTIM_UNKNOWN"
    VICTIM_OTHER_GROUP = "VICTIM_OTHER_GROUP"
    VICTIM_NOT_RUNNING = "VICTIM_NOT_RUNNING"  # any more; the detail is its status
    VICTIM_PROTECTED = "VICTIM_PROTECTED"  # the detail says by what


class ProtectedVictim(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The rule that protects a running session from the pending one."""

    protection: Protection


class RejectedReservation(msgspec.Struct, frozen=True):
    """A session that was not reserved for; none of its victims was touched.

    ``agent_id`` or ``victim_id`` is set where one is the reason; a status in ``detail`` is the victim's then.
    """

    session_id: SessionId
    code: ReservationRejectionCode
    agent_id: Optional[AgentId] = None
    victim_id: Optional[SessionId] = None
    detail: Union[
        AgentObstacle,
        OwnerBreach,
        SessionDependency,
        StartNotReached,
        UnreadableRow,
        ProtectedVictim,
        RowLocked,
        SessionStatus,
        None,
    ] = None


class ReservationResult(msgspec.Struct, frozen=True):
    """The outcome of a batch, in the order given; the victims of those that are reserved are TERMINATING."""

    reserved: tuple[SessionId, ...]
    rejected: tuple[RejectedReservation, ...]
    transaction_id: Optional[TransactionId] = None


class ReleaseResult(msgspec.Struct, frozen=True):
    """The sessions whose reservations this call gave up; the others have none, or are of another group.

    Those of ``rejected`` that are in ``locked`` too were left for later: another transaction has a row locked.
    """

    released: tuple[SessionId, ...]
    rejected: tuple[SessionId, ...]
    transaction_id: Optional[TransactionId] = None
    locked: tuple[RejectedReservation, ...] = ()
