"""Obstacles to placing a session: the details of rejections and of waiting reasons.

Amounts are whole numbers in each slot's smallest unit, at the slot type's ``slot_index``.
"""

import enum
from datetime import datetime
from typing import Optional, Union

import msgspec

from scheduler_repo.errors import LockNotAvailable
from scheduler_repo.types import AgentId, Architecture, OwnerScope, SessionId


class SlotShortage(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The first slot of which more is requested than is available."""

    slot_index: int
    requested: int
    available: int


class ContainerShortage(msgspec.Struct, frozen=True, gc=False, tag=True):
    """More containers than the agent still takes: ``used`` of ``limit`` run on it."""

    requested: int
    used: int
    limit: int


class ArchitectureMismatch(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A kernel is built for another architecture than the agent's."""

    requested: Architecture
    available: Architecture


class NotDesignated(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The session designates agents, and this is not one of them."""

    agent_id: AgentId
    designated_agent_ids: tuple[AgentId, ...]


AgentObstacle = Union[NotDesignated, ArchitectureMismatch, ContainerShortage, SlotShortage]


class QuotaKind(enum.StrEnum):
    """The kind of an owner's limit."""

    KERNELS_PER_SESSION = "KERNELS_PER_SESSION"
    CONCURRENT_SESSIONS = "CONCURRENT_SESSIONS"
    SLOT = "SLOT"


class QuotaBreach(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A limit that ``used`` + ``requested`` would exceed; ``slot_index`` is set for slots only."""

    kind: QuotaKind
    slot_index: Optional[int]
    used: int
    requested: int
    limit: int


class StartNotReached(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The session's requested start time is after the snapshot."""

    requested_start_at: datetime
    observed_at: datetime


class Protection(enum.StrEnum):
    """Why a running session may not be preempted, in the order of the checks."""

    PREEMPTION_OFF = "PREEMPTION_OFF"  # in the scaling group
    PRIORITY = "PRIORITY"  # not below the pending session's
    OTHER_OWNER = "OTHER_OWNER"  # than the pending session's, in the group's scope
    MIN_RUNTIME = "MIN_RUNTIME"  # not reached yet


class OwnerBreach(msgspec.Struct, frozen=True, gc=False, tag=True):
    """An owner's limit that one more session would exceed; ``owner_id`` is a UUID or a name as text."""

    scope: OwnerScope
    owner_id: str
    breach: QuotaBreach


class RowLocked(msgspec.Struct, frozen=True, gc=False, tag=True):
    """A row that another transaction has locked; ``row_id`` is its key as text.

    ``pids`` are the server processes that hold it, as pg_stat_activity shows them; none where they are not
    known, as of a prepared transaction or of one that has just ended.
    """

    table: str
    row_id: str
    pids: tuple[int, ...]

    def describe(self) -> str:
        """Return the row and its holders in words."""
        word = "process" if len(self.pids) == 1 else "processes"
        held = (
            f"{word} {', '.join(map(str, self.pids))}" if self.pids else "a transaction of an unknown process"
        )
        return f"row {self.row_id} of {self.table} is locked by {held}"

    def to_error(self, session_id: Optional[SessionId] = None) -> LockNotAvailable:
        """Build the typed error for a caller that asked for what needs this row, such as a session."""
        subject = "" if session_id is None else f"session {session_id}: "
        return LockNotAvailable(
            f"{subject}{self.describe()}; nothing was written, try again when that transaction has ended "
            "(pg_stat_activity shows it)",
            table=self.table,
            row_id=self.row_id,
            pids=self.pids,
            session_id=session_id,
        )


class HoldNotFree(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The first agent of a reservation whose room is not free yet."""

    agent_id: AgentId
    obstacle: AgentObstacle
