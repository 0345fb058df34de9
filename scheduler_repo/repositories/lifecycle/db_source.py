"""The life of sessions after placement, in PostgreSQL."""

from collections.abc import Sequence
from typing import Optional, Union

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.lifecycle import (
    DispatchResult,
    LostSessionAction,
    RecoveryResult,
    SessionAttempt,
    SessionEnd,
    SessionRetry,
    SessionStart,
    TransitionResult,
    UndispatchedSession,
)
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.lifecycle.changing import Move, SessionChange, change_batch
from scheduler_repo.repositories.lifecycle.dispatching import dispatch_batch, fetch_undispatched
from scheduler_repo.repositories.lifecycle.recovering import recover_batch
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId, SessionStatus
from scheduler_repo.validation import (
    Limit31,
    Limit63,
    check_ids,
    check_kind,
    check_range,
    checked_batch,
)

EXPIRED_PENDING_SESSIONS = load_statement("lifecycle/expired_pending_sessions")

_MARK_SESSIONS = IdempotentWrite("mark_sessions", TransitionResult)
_SWEEP_PENDING_SESSIONS = IdempotentWrite("sweep_pending_sessions", TransitionResult)
_MARK_DISPATCHED = IdempotentWrite("mark_dispatched", DispatchResult)
_RECOVER_LOST_SESSIONS = IdempotentWrite("recover_lost_sessions", RecoveryResult)

_SWEPT = "pending for longer than the scaling group allows"
_resilience = layer_resilience(LayerType.LIFECYCLE_DB_SOURCE)


class LifecycleDBSource:
    """Moves sessions, with their kernels, from status to status in batches, and lists what is to be dispatched.

    Every batch answers session by session; what may not be moved is rejected, the rest goes through. All raise
    InvalidInput for an id that is none, and the errors of the database layer; writes StaleLeaseError,
    OperationMismatch and OutcomeUnknown too.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def mark_sessions(
        self,
        to_status: SessionStatus,
        changes: Sequence[SessionChange],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Move sessions to a status, each by the table of transitions.

        Raises InvalidInput for an id that is none, StaleLeaseError, OperationMismatch, OutcomeUnknown and the
        errors of the database layer; then nothing was written. Costs ten statements (one more with a lease, to
        PENDING and to RUNNING) in one transaction; time grows with the batch.
        """
        if to_status is SessionStatus.SCHEDULED:
            raise InvalidInput("a session becomes SCHEDULED by allocate_sessions() only")
        check_ids("session", [change.session_id for change in changes])
        if not changes:
            return TransitionResult(to_status, (), ())
        move = Move(to_status, reason, scaling_group=None if lease is None else lease.scaling_group)
        return await _MARK_SESSIONS.run(
            self._engine,
            lambda write: change_batch(write, move, changes),
            request=(to_status, changes, reason),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def mark_preparing(
        self,
        sessions: Sequence[Union[SessionId, SessionAttempt]],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Do ``mark_sessions`` to PREPARING."""
        changes = changes_of(sessions)
        return await self.mark_sessions(SessionStatus.PREPARING, changes, None, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_running(
        self,
        starts: Sequence[SessionStart],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Do ``mark_sessions`` to RUNNING; what kernels do not occupy is given back."""
        checked_batch(starts, SessionStart, "starts")
        changes = [
            SessionChange(start.session_id, occupied_slots=start.occupied_slots, retry_count=start.retry_count)
            for start in starts
        ]
        return await self.mark_sessions(SessionStatus.RUNNING, changes, None, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_terminated(
        self,
        ends: Sequence[SessionEnd],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Do ``mark_sessions`` to TERMINATED; all that they occupied is given back."""
        checked_batch(ends, SessionEnd, "ends")
        changes = [
            SessionChange(end.session_id, end.result, end.exit_codes, retry_count=end.retry_count)
            for end in ends
        ]
        return await self.mark_sessions(SessionStatus.TERMINATED, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def requeue_sessions(
        self,
        retries: Sequence[SessionRetry],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Do ``mark_sessions`` to PENDING; retries are counted, and the agents that failed remembered."""
        checked_batch(retries, SessionRetry, "retries")
        changes = [
            SessionChange(
                retry.session_id, failed_agent_ids=retry.failed_agent_ids, retry_count=retry.retry_count
            )
            for retry in retries
        ]
        return await self.mark_sessions(SessionStatus.PENDING, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def sweep_pending_sessions(
        self,
        scaling_group: ScalingGroupName,
        limit: int,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Cancel up to ``limit`` sessions of a group that have been pending for longer than it allows.

        Raises InvalidInput for a ``limit`` below 1. Costs eleven statements in one transaction; time grows with
        the group's queue.
        """
        check_lease(lease, scaling_group)
        check_range(limit, Limit63, "limit")

        async def sweep(write: WriteTransaction) -> TransitionResult:
            rows = await fetch_rows(write.db_sess, EXPIRED_PENDING_SESSIONS, scaling_group, limit)
            if not rows:
                await require_group(write.db_sess, scaling_group)
            move = Move(SessionStatus.CANCELLED, _SWEPT, only_from=SessionStatus.PENDING)
            return await change_batch(write, move, [SessionChange(row[0]) for row in rows])

        return await _SWEEP_PENDING_SESSIONS.run(
            self._engine, sweep, request=(scaling_group, limit), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.WRITE)
    async def recover_lost_sessions(
        self,
        scaling_group: ScalingGroupName,
        action: LostSessionAction,
        limit: int,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> RecoveryResult:
        """Take up to ``limit`` sessions of a group off lost agents; costs at most 24 statements."""
        check_lease(lease, scaling_group)
        check_kind(action, LostSessionAction, "action")
        check_range(limit, Limit31, "limit")
        return await _RECOVER_LOST_SESSIONS.run(
            self._engine,
            lambda write: recover_batch(write, scaling_group, action, limit),
            request=(scaling_group, action, limit),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.READ)
    async def list_undispatched_sessions(
        self, scaling_group: ScalingGroupName, limit: Optional[int] = None
    ) -> tuple[UndispatchedSession, ...]:
        """List the allocated sessions whose agents were not told yet, the longest allocated first.

        Costs one statement, two if there are none; time grows with the answer.
        """
        if limit is not None:
            check_range(limit, Limit63, "limit")
        async with self._engine.begin_readonly_session() as db_sess:
            sessions = await fetch_undispatched(db_sess, scaling_group, limit)
            if not sessions:
                await require_group(db_sess, scaling_group)
        return sessions

    @_resilience.apply(OperationKind.WRITE)
    async def mark_dispatched(
        self,
        dispatches: Sequence[SessionAttempt],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> DispatchResult:
        """Mark attempts as dispatched, each once whoever asks; costs four statements, five with a lease."""
        checked_batch(dispatches, SessionAttempt, "dispatches")
        check_ids("session", [dispatch.session_id for dispatch in dispatches])
        if not dispatches:
            return DispatchResult((), ())
        return await _MARK_DISPATCHED.run(
            self._engine,
            lambda write: dispatch_batch(write, dispatches, None if lease is None else lease.scaling_group),
            request=dispatches,
            operation_id=operation_id,
            lease=lease,
        )


def changes_of(sessions: Sequence[Union[SessionId, SessionAttempt]]) -> list[SessionChange]:
    """Name sessions, or one attempt of each, for a change of status alone."""
    return [
        SessionChange(each.session_id, retry_count=each.retry_count)
        if isinstance(each, SessionAttempt)
        else SessionChange(each)
        for each in sessions
    ]
