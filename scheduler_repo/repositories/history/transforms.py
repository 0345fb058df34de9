"""Rows of history as structs."""

from typing import TYPE_CHECKING

from scheduler_repo.entities.history import AgentHistoryEntry, SessionHistoryEntry
from scheduler_repo.types import AgentStatus, SessionStatus

if TYPE_CHECKING:
    from asyncpg import Record


def session_entry_of(row: "Record") -> SessionHistoryEntry:
    """Make an entry of a row of session_history.sql."""
    from_status = row["from_status"]
    return SessionHistoryEntry(
        entry_id=row["id"],
        session_id=row["session_id"],
        kernel_id=row["kernel_id"],
        from_status=None if from_status is None else SessionStatus(from_status),
        to_status=SessionStatus(row["to_status"]),
        reason=row["reason"],
        changed_at=row["changed_at"],
    )


def agent_entry_of(row: "Record") -> AgentHistoryEntry:
    """Make an entry of a row of agent_history.sql or agent_history_by_time.sql."""
    from_status = row["from_status"]
    return AgentHistoryEntry(
        entry_id=row["id"],
        agent_id=row["agent_id"],
        from_status=None if from_status is None else AgentStatus(from_status),
        to_status=AgentStatus(row["to_status"]),
        reason=row["reason"],
        changed_at=row["changed_at"],
    )
