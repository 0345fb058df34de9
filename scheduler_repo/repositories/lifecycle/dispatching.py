"""The hand-off to the agents: what is allocated and not yet dispatched, and marking it as dispatched."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.locks import LOCK_SESSIONS
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lifecycle import (
    DispatchResult,
    SessionAttempt,
    UndispatchedKernel,
    UndispatchedSession,
)
from scheduler_repo.types import ScalingGroupName, SessionId

UNDISPATCHED_KERNELS = load_statement("lifecycle/undispatched_kernels")
DISPATCH_SESSIONS = load_statement("lifecycle/dispatch_sessions")


async def fetch_undispatched(
    db_sess: SASession, scaling_group: ScalingGroupName, limit: Optional[int]
) -> tuple[UndispatchedSession, ...]:
    """List sessions with their kernels, the longest allocated first; costs one statement."""
    kernels: dict[tuple[SessionId, int], list[UndispatchedKernel]] = {}
    for session_id, retry_count, *kernel in await fetch_rows(
        db_sess, UNDISPATCHED_KERNELS, scaling_group, limit
    ):
        kernels.setdefault((session_id, retry_count), []).append(UndispatchedKernel(*kernel))
    return tuple(UndispatchedSession(*attempt, tuple(group)) for attempt, group in kernels.items())


async def dispatch_batch(
    write: WriteTransaction, dispatches: Sequence[SessionAttempt], scaling_group: Optional[ScalingGroupName]
) -> DispatchResult:
    """Mark what is not marked yet, of one group if it is given; costs two statements, whatever the number."""
    session_ids = sorted({dispatch.session_id for dispatch in dispatches})
    locked = {
        row["session_id"]
        for row in await fetch_rows(write.db_sess, LOCK_SESSIONS, session_ids)
        if scaling_group in (None, row["scaling_group"])
    }
    attempts = [
        dispatch
        for dispatch in dispatches
        if dispatch.session_id in locked and _may_be_an_attempt(dispatch.retry_count)
    ]
    rows = await fetch_rows(
        write.db_sess,
        DISPATCH_SESSIONS,
        [attempt.session_id for attempt in attempts],
        [attempt.retry_count for attempt in attempts],
    )
    marked = {row[0] for row in rows}
    write.changed_sessions.update(marked)
    wanted = dict.fromkeys(dispatch.session_id for dispatch in dispatches)
    return DispatchResult(
        tuple(session_id for session_id in wanted if session_id in marked),
        tuple(session_id for session_id in wanted if session_id not in marked),
        write.transaction_id,
    )


def _may_be_an_attempt(retry_count: object) -> bool:
    # The driver would take 0.5 for 0, and True for 1.
    return type(retry_count) is int and 0 <= retry_count < 2**31
