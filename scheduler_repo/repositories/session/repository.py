"""Sessions."""

from collections.abc import Sequence

from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.specs import SessionCreationSpec
from scheduler_repo.types import SessionId


class SessionRepository:
    """Enqueues sessions."""

    def __init__(self, db_source: SessionDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    async def enqueue_sessions(self, sessions: Sequence[SessionCreationSpec]) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, UnknownSlotType, InvalidQuantity and
        InvalidInput. Costs six statements, whatever the number.
        """
        return await self._db_source.enqueue_sessions(sessions)
