"""Scheduling history: what happened to sessions, kernels and agents, when and why."""

from datetime import datetime
from typing import Optional

from scheduler_repo.entities.history import AgentHistoryEntry, SessionHistoryEntry
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.repositories.history.db_source import HistoryDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import AgentId, SessionId

_resilience = layer_resilience(LayerType.HISTORY_REPOSITORY, retries=False)


class HistoryRepository:
    """Lists what happened to sessions and agents; all raise the errors of the database layer.

    History is written with each change, in its transaction, and goes when it is purged. Times are the
    database's clock, in UTC.
    """

    def __init__(self, db_source: HistoryDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.READ)
    async def list_session_history(self, session_id: SessionId) -> tuple[SessionHistoryEntry, ...]:
        """List all that happened to a session and its kernels, the oldest first; none of an unknown one.

        Raises InvalidInput for an id that is no UUID. Costs one statement; time grows with the session's
        changes.
        """
        return await self._db_source.list_session_history(session_id)

    @_resilience.apply(OperationKind.READ)
    async def list_agent_history(
        self, agent_id: AgentId, limit: int = DEFAULT_PAGE
    ) -> tuple[AgentHistoryEntry, ...]:
        """List the last changes of an agent's status, the newest first; none if there is no such agent.

        ``limit`` is at most 1,000. Raises InvalidInput and InvalidLimit. Costs one statement.
        """
        return await self._db_source.list_agent_history(agent_id, limit)

    @_resilience.apply(OperationKind.READ)
    async def search_agent_history(
        self,
        changed_from: Optional[datetime] = None,
        changed_until: Optional[datetime] = None,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[AgentHistoryEntry]:
        """Answer one page of the changes of all agents in a span of time, the newest first.

        ``changed_from`` is included, ``changed_until`` is not, None has no bound; both carry a time zone.
        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. Raises
        InvalidFilter, InvalidLimit and InvalidCursor. Costs one statement; any page costs what the first does.
        """
        return await self._db_source.search_agent_history(changed_from, changed_until, limit, cursor)
