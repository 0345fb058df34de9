"""The life of sessions after placement: from allocated to dispatched, running, ended, or back to the queue."""

from collections.abc import Sequence
from typing import Optional, Union

from scheduler_repo.entities.lease import Lease
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
from scheduler_repo.repositories.lifecycle.changing import SessionChange
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource, changes_of
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId, SessionStatus

DEFAULT_SWEEP_LIMIT = 1_000
DEFAULT_RECOVERY_LIMIT = 1_000
_resilience = layer_resilience(LayerType.LIFECYCLE_REPOSITORY, retries=False)


class LifecycleRepository:
    """Moves sessions, with their kernels, from status to status.

    Every method takes a batch and answers session by session: what the table of transitions does not allow is
    rejected, the rest goes through. What agents report should name the attempt (``retry_count``): a report of
    an earlier one is then rejected, not taken for this one. Each change leaves a history row. With a lease,
    sessions of other groups are rejected too. Asking again under the same ``operation_id`` answers the same and
    writes nothing twice. All raise InvalidInput for an id that is none, StaleLeaseError, OperationMismatch,
    OutcomeUnknown and the errors of the database layer; then, save after OutcomeUnknown, nothing was written.
    Each costs ten to twelve statements in one transaction, whatever the size of the batch.
    """

    def __init__(self, db_source: LifecycleDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def mark_preparing(
        self,
        sessions: Sequence[Union[SessionId, SessionAttempt]],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Say that agents prepare the kernels of sessions (pull images, make containers).

        By an attempt, a report that comes late, of an earlier attempt, is rejected.
        """
        return await self._db_source.mark_preparing(sessions, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_running(
        self,
        starts: Sequence[SessionStart],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Say that all kernels of sessions run, and what they really occupy; the rest is given back.

        More than was requested rejects the session.
        """
        return await self._db_source.mark_running(starts, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_terminating(
        self,
        session_ids: Sequence[SessionId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Say that sessions are told to end; they occupy their agents until they are terminated."""
        changes = [SessionChange(session_id) for session_id in session_ids]
        return await self._db_source.mark_sessions(
            SessionStatus.TERMINATING, changes, reason, lease, operation_id
        )

    @_resilience.apply(OperationKind.WRITE)
    async def mark_terminated(
        self,
        ends: Sequence[SessionEnd],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Say that sessions have ended, with result and exit codes; all that they occupied is given back."""
        return await self._db_source.mark_terminated(ends, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_cancelled(
        self,
        session_ids: Sequence[SessionId],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Cancel sessions that do not run yet; what they held is given back."""
        changes = [SessionChange(session_id) for session_id in session_ids]
        return await self._db_source.mark_sessions(
            SessionStatus.CANCELLED, changes, reason, lease, operation_id
        )

    @_resilience.apply(OperationKind.WRITE)
    async def mark_error(
        self,
        sessions: Sequence[Union[SessionId, SessionAttempt]],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Say that sessions, or an attempt of each, failed by no fault of theirs; what they held is free."""
        changes = changes_of(sessions)
        return await self._db_source.mark_sessions(SessionStatus.ERROR, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def requeue_sessions(
        self,
        retries: Sequence[SessionRetry],
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Put sessions back into the queue, count the retry and remember the agents that failed.

        They keep their priority and creation time, and with them their place. What they occupied is given back.
        """
        return await self._db_source.requeue_sessions(retries, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def sweep_pending_sessions(
        self,
        scaling_group: ScalingGroupName,
        limit: int = DEFAULT_SWEEP_LIMIT,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Cancel up to ``limit`` sessions of a group that have been pending for longer than it allows.

        The time counts from the last entry into the queue or the requested start, by the database's clock.
        """
        return await self._db_source.sweep_pending_sessions(scaling_group, limit, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def recover_lost_sessions(
        self,
        scaling_group: ScalingGroupName,
        action: LostSessionAction,
        limit: int = DEFAULT_RECOVERY_LIMIT,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> RecoveryResult:
        """Take up to ``limit`` sessions of a group off its lost agents: back into the queue, or to ERROR.

        A session goes whole, with its kernels on other agents, which are to be told to end them. In the queue
        it keeps its place, its retry is counted and the lost agents are remembered as failed. One that was
        told to end becomes ERROR whatever the action: its user may have ended it, so it must not run again,
        and nobody saw its containers end.

        It goes by the agents' status alone, whenever and by whomever they were marked: call it until nothing is
        requeued or failed, then none is left on a lost agent but what was rejected. Where as many are rejected
        as ``limit``, those behind them are not reached: mend the counters first. An agent that has returned
        meanwhile keeps its sessions. Costs at most 24 statements, 25 with a lease; time grows with the batch
        and the lost agents.
        """
        return await self._db_source.recover_lost_sessions(scaling_group, action, limit, lease, operation_id)

    @_resilience.apply(OperationKind.READ)
    async def list_undispatched_sessions(
        self, scaling_group: ScalingGroupName, limit: Optional[int] = None
    ) -> tuple[UndispatchedSession, ...]:
        """List the allocated sessions whose agents were not told yet, the longest allocated first.

        Tell the agents first, naming the attempt, then ``mark_dispatched``: who is killed between the two finds
        the session here again, and an agent that was told before knows the attempt. Costs one statement, two
        if there are none.
        """
        return await self._db_source.list_undispatched_sessions(scaling_group, limit)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_dispatched(
        self,
        dispatches: Sequence[SessionAttempt],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> DispatchResult:
        """Mark attempts as dispatched; of several callers one has each, the others find it rejected."""
        return await self._db_source.mark_dispatched(dispatches, lease, operation_id)
