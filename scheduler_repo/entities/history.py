"""Scheduling history: one entry for each change of a status."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.types import AgentId, AgentStatus, KernelId, SessionId, SessionStatus


class SessionHistoryEntry(msgspec.Struct, frozen=True):
    """One change of a session's status, or of one kernel's where ``kernel_id`` is set.

    ``from_status`` is None for its creation. ``entry_id`` grows with time for one session.
    """

    entry_id: int
    session_id: SessionId
    kernel_id: Optional[KernelId]
    from_status: Optional[SessionStatus]
    to_status: SessionStatus
    reason: Optional[str]
    changed_at: datetime


class AgentHistoryEntry(msgspec.Struct, frozen=True):
    """One change of an agent's status; ``from_status`` is None for its registration."""

    entry_id: int
    agent_id: AgentId
    from_status: Optional[AgentStatus]
    to_status: AgentStatus
    reason: Optional[str]
    changed_at: datetime
