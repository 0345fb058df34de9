"""Sessions."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.specs import SessionCreationSpec
from scheduler_repo.types import OperationId, SessionId

_resilience = repository_resilience(LayerType.SESSION_REPOSITORY)


class SessionRepository:
    """Enqueues sessions."""

    def __init__(self, db_source: SessionDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def enqueue_sessions(
        self, sessions: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, UnknownSlotType, InvalidQuantity,
        InvalidInput, OperationMismatch and OutcomeUnknown. Asking again under the same ``operation_id`` answers
        the same and writes nothing twice. Costs eight statements, whatever the number.
        """
        return await self._db_source.enqueue_sessions(sessions, operation_id)
