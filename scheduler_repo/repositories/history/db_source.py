"""The statements of scheduling history."""

from datetime import datetime
from typing import TYPE_CHECKING, Final, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.history import AgentHistoryEntry, SessionHistoryEntry
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.types import AgentId, SessionId

if TYPE_CHECKING:
    from asyncpg import Record

SESSION_HISTORY = load_statement("history/session_history")
AGENT_HISTORY = load_statement("history/agent_history")
AGENT_HISTORY_BY_TIME = load_statement("history/agent_history_by_time")


class HistoryDBSource(DBSource):
    """Lists the changes of sessions and agents; each method costs one statement."""

    async def list_session_history(self, db_sess: SASession, session_id: SessionId) -> "list[Record]":
        """List the changes of a session and its kernels, the oldest first."""
        return await fetch_rows(db_sess, SESSION_HISTORY, session_id)

    async def list_agent_history(self, db_sess: SASession, agent_id: AgentId, limit: int) -> "list[Record]":
        """List the last changes of an agent, the newest first."""
        return await fetch_rows(db_sess, AGENT_HISTORY, agent_id, limit)

    async def search_agent_history(
        self,
        db_sess: SASession,
        changed_from: Optional[datetime],
        changed_until: Optional[datetime],
        after: tuple[Optional[datetime], Optional[int]],
        limit: int,
    ) -> "list[Record]":
        """List the changes of all agents in a span of time, the newest first, those behind (time, entry id)."""
        return await fetch_rows(db_sess, AGENT_HISTORY_BY_TIME, changed_from, changed_until, *after, limit)


def session_entry_from_row(row: "Record") -> SessionHistoryEntry:
    """Build an entry from a row of session_history.sql."""
    return build_struct(SessionHistoryEntry, row, entry_id=row["id"])


def agent_entry_from_row(row: "Record") -> AgentHistoryEntry:
    """Build an entry from a row of agent_history.sql or agent_history_by_time.sql."""
    return build_struct(AgentHistoryEntry, row, entry_id=row["id"])


SESSION_ENTRIES: Final = RowReader("session history entry", session_entry_from_row)
AGENT_ENTRIES: Final = RowReader("agent history entry", agent_entry_from_row)
