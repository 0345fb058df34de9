"""Scheduling history: what happened to sessions, kernels and agents, when and why."""

from datetime import datetime
from typing import Final, Optional

import msgspec

from scheduler_repo.entities.history import AgentHistoryEntry, SessionHistoryEntry
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.errors import InvalidFilter
from scheduler_repo.repositories.history.db_source import (
    AGENT_ENTRIES,
    SESSION_ENTRIES,
    HistoryDBSource,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, SessionId
from scheduler_repo.validation import check_id, check_limit, check_name, check_time
from scheduler_repo.wiring import check_wiring

_resilience = layer_resilience(LayerType.HISTORY_REPOSITORY)


class _Span(msgspec.Struct, frozen=True):
    changed_from: Optional[datetime]
    changed_until: Optional[datetime]


_CURSORS: Final = CursorCodec("search_agent_history", tuple[datetime, int])


class HistoryRepository:
    """Lists what happened to sessions and agents; all methods raise the errors of the database layer too.

    Each change writes its history in its own transaction; a purge removes it. Times are the database's clock,
    in UTC. ``limit`` is at most 1,000. Each method costs one statement, and raises InvalidInput for an id that
    is malformed.
    """

    def __init__(self, db_source: HistoryDBSource) -> None:
        """Raise InvalidWiring for what is no HistoryDBSource."""
        check_wiring(db_source, HistoryDBSource, "db_source", "HistoryDBSource(engine)")
        self._db_source = db_source
        self._db = db_source.engine

    @_resilience.apply(OperationKind.READ)
    async def list_session_history(self, session_id: SessionId) -> tuple[SessionHistoryEntry, ...]:
        """List all changes of a session and its kernels, the oldest first; none if there is no such session.

        Time grows with the session's changes.
        """
        check_id(session_id, "session")
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.list_session_history(db_sess, session_id)
        return await SESSION_ENTRIES.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def list_agent_history(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentHistoryEntry, ...]:
        """List the last changes of an agent's status, the newest first; none if there is no such agent.

        Raises InvalidLimit.
        """
        check_name(agent_id, "agent id")
        check_limit(limit)
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.list_agent_history(db_sess, agent_id, limit)
        return await AGENT_ENTRIES.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_agent_history(
        self,
        changed_from: Optional[datetime] = None,
        changed_until: Optional[datetime] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[AgentHistoryEntry]:
        """Return one page of the changes of all agents in a span of time, the newest first.

        ``changed_from`` is included, ``changed_until`` is not, None has no bound; both carry a time zone.
        ``cursor`` is ``next_cursor`` of the page before, None begins; any page costs what the first does.
        Raises InvalidFilter, InvalidLimit and InvalidCursor.
        """
        for field, when in (("changed_from", changed_from), ("changed_until", changed_until)):
            if when is not None:
                check_time(when, field, InvalidFilter)
        check_limit(limit)
        question = _Span(changed_from, changed_until)
        after = (None, None) if cursor is None else _CURSORS.decode(question, cursor)
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.search_agent_history(
                db_sess, changed_from, changed_until, after, limit + 1
            )
        return await AGENT_ENTRIES.page(
            _CURSORS, question, rows, limit, lambda row: (row["changed_at"], row["id"])
        )
