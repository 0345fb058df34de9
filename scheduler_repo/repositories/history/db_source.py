"""Scheduling history in PostgreSQL."""

from datetime import datetime
from typing import Final, Optional

import msgspec

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.filtering import check_time
from scheduler_repo.entities.history import AgentHistoryEntry, SessionHistoryEntry
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.repositories.history.transforms import agent_entry_of, session_entry_of
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, SessionId
from scheduler_repo.validation import check_ids, check_name

SESSION_HISTORY = load_statement("history/session_history")
AGENT_HISTORY = load_statement("history/agent_history")
AGENT_HISTORY_BY_TIME = load_statement("history/agent_history_by_time")


class _Span(msgspec.Struct, frozen=True):
    changed_from: Optional[datetime]
    changed_until: Optional[datetime]


_CURSORS: Final = CursorCodec("search_agent_history", tuple[datetime, int])

_resilience = layer_resilience(LayerType.HISTORY_DB_SOURCE)


class HistoryDBSource:
    """Lists what happened to sessions and agents."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.READ)
    async def list_session_history(self, session_id: SessionId) -> tuple[SessionHistoryEntry, ...]:
        """List all that happened to a session, the oldest first; raises InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SESSION_HISTORY, session_id)
        return tuple(map(session_entry_of, rows))

    @_resilience.apply(OperationKind.READ)
    async def list_agent_history(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentHistoryEntry, ...]:
        """List the last that happened to an agent, the newest first; raises InvalidInput and InvalidLimit.

        Costs one statement.
        """
        check_name(agent_id, "agent id")
        check_limit(limit)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, AGENT_HISTORY, agent_id, limit)
        return tuple(map(agent_entry_of, rows))

    @_resilience.apply(OperationKind.READ)
    async def search_agent_history(
        self,
        changed_from: Optional[datetime] = None,
        changed_until: Optional[datetime] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[AgentHistoryEntry]:
        """Answer one page of what happened to all agents in a span of time, the newest first.

        Raises InvalidFilter, InvalidLimit and InvalidCursor. Costs one statement.
        """
        for field, when in (("changed_from", changed_from), ("changed_until", changed_until)):
            if when is not None:
                check_time(field, when)
        check_limit(limit)
        question = _Span(changed_from, changed_until)
        after = (None, None) if cursor is None else _CURSORS.decode(question, cursor)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(
                db_sess, AGENT_HISTORY_BY_TIME, changed_from, changed_until, *after, limit + 1
            )
        items = tuple(map(agent_entry_of, rows[:limit]))
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, _CURSORS.encode(question, (items[-1].changed_at, items[-1].entry_id)))
