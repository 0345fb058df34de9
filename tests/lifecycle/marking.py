"""The method that leads to each status, so that a test can be of all of them."""

from collections.abc import Sequence
from typing import Final, Optional

from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry, SessionStart, TransitionResult
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.types import OperationId, SessionId, SessionStatus

# Every status that a session is marked with; SCHEDULED is the allocation's.
MARKED: Final = (
    SessionStatus.PREPARING,
    SessionStatus.RUNNING,
    SessionStatus.TERMINATING,
    SessionStatus.TERMINATED,
    SessionStatus.CANCELLED,
    SessionStatus.ERROR,
    SessionStatus.PENDING,
)
WITHOUT_REASON: Final = (SessionStatus.PREPARING, SessionStatus.RUNNING)


async def mark(
    repository: LifecycleRepository,
    to_status: SessionStatus,
    session_ids: Sequence[SessionId],
    reason: Optional[str] = None,
    operation_id: Optional[OperationId] = None,
) -> TransitionResult:
    """Call the method that leads to a status; the first two take no reason."""
    match to_status:
        case SessionStatus.PREPARING:
            return await repository.mark_preparing(session_ids, operation_id=operation_id)
        case SessionStatus.RUNNING:
            starts = [SessionStart(session_id) for session_id in session_ids]
            return await repository.mark_running(starts, operation_id=operation_id)
        case SessionStatus.TERMINATING:
            return await repository.mark_terminating(session_ids, reason, operation_id=operation_id)
        case SessionStatus.TERMINATED:
            ends = [SessionEnd(session_id) for session_id in session_ids]
            return await repository.mark_terminated(ends, reason, operation_id=operation_id)
        case SessionStatus.CANCELLED:
            return await repository.mark_cancelled(session_ids, reason, operation_id=operation_id)
        case SessionStatus.ERROR:
            return await repository.mark_error(session_ids, reason, operation_id=operation_id)
        case SessionStatus.PENDING:
            retries = [SessionRetry(session_id) for session_id in session_ids]
            return await repository.requeue_sessions(retries, reason, operation_id=operation_id)
        case SessionStatus.SCHEDULED:
            raise ValueError("sessions become SCHEDULED by allocate_sessions()")
