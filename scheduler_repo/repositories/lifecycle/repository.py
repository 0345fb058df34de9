"""The life of sessions after placement: from allocated to dispatched, running, ended, or back to the queue."""

from collections.abc import Mapping, Sequence
from typing import Optional, Union

import msgspec

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.status_changes import change_statuses
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
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource, undispatched_from_rows
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.transitions import SessionChange, StatusChange, reject_blocked
from scheduler_repo.steps import in_slices
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId, SessionResult, SessionStatus
from scheduler_repo.validation import (
    Limit31,
    Limit63,
    check_ids,
    check_kind,
    check_length,
    check_range,
    check_reason,
    check_stored_agent_ids,
    checked_batch,
    checked_sequence,
)

DEFAULT_LIMIT = 1_000

_MARK_SESSIONS = IdempotentWrite("mark_sessions", TransitionResult)
_SWEEP_PENDING_SESSIONS = IdempotentWrite("sweep_pending_sessions", TransitionResult)
_MARK_DISPATCHED = IdempotentWrite("mark_dispatched", DispatchResult, wakes=False)
_RECOVER_LOST_SESSIONS = IdempotentWrite("recover_lost_sessions", RecoveryResult)

_SWEPT = "pending for longer than the scaling group allows"
_LOST = "an agent that it ran on is lost"

_resilience = layer_resilience(LayerType.LIFECYCLE_REPOSITORY)


class LifecycleRepository(Repository[LifecycleDBSource]):
    """Changes the status of sessions, with their kernels.

    Every method takes a batch and answers session by session: a change that the table of transitions does not
    allow is rejected, the others go through. Reports of agents should name the attempt (``retry_count``): a
    report of an earlier one is then rejected. Each change leaves a history row. With a lease, sessions of other
    groups are rejected too. Asking again under the same ``operation_id`` answers the same and writes nothing
    twice. All raise InvalidInput for a malformed id, StaleLeaseError, OperationMismatch, OutcomeUnknown and the
    errors of the database layer; then, save after OutcomeUnknown, nothing was written. Each costs ten to twelve
    statements in one transaction, whatever the size of the batch.
    """

    source_type = LifecycleDBSource

    @_resilience.apply(OperationKind.WRITE)
    async def mark_preparing(
        self,
        sessions: Sequence[Union[SessionId, SessionAttempt]],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Mark sessions, or an attempt of each, whose agents pull images and make containers."""
        checked_sequence(sessions, "sessions")
        changes = [_build_change(each) async for each in in_slices(sessions)]
        return await self._mark(SessionStatus.PREPARING, changes, None, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_running(
        self,
        starts: Sequence[SessionStart],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Mark sessions of which all kernels run; what these do not occupy of their request is given back.

        A session that occupies more than it requested is rejected.
        """
        changes = await _build_changes(checked_batch(starts, SessionStart, "starts"))
        return await self._mark(SessionStatus.RUNNING, changes, None, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_terminating(
        self,
        session_ids: Sequence[SessionId],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Mark sessions that are told to end; they occupy their agents until they are terminated."""
        check_ids(session_ids, "session")
        changes = [*map(SessionChange, session_ids)]
        return await self._mark(SessionStatus.TERMINATING, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_terminated(
        self,
        ends: Sequence[SessionEnd],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Mark sessions that have ended, with result and exit codes, and give back all that they occupied."""
        changes = await _build_changes(checked_batch(ends, SessionEnd, "ends"))
        return await self._mark(SessionStatus.TERMINATED, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_cancelled(
        self,
        session_ids: Sequence[SessionId],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Cancel sessions that do not run yet, and give back what they occupied."""
        check_ids(session_ids, "session")
        changes = [*map(SessionChange, session_ids)]
        return await self._mark(SessionStatus.CANCELLED, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_error(
        self,
        sessions: Sequence[Union[SessionId, SessionAttempt]],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Mark sessions, or an attempt of each, that the system failed, and give back what they occupied."""
        checked_sequence(sessions, "sessions")
        changes = [_build_change(each) async for each in in_slices(sessions)]
        return await self._mark(SessionStatus.ERROR, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def requeue_sessions(
        self,
        retries: Sequence[SessionRetry],
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Put sessions back into the queue, count the retry and remember the agents that failed.

        They keep their priority and creation time, and with them their place. What they occupied is given back.
        """
        changes = await _build_changes(checked_batch(retries, SessionRetry, "retries"))
        return await self._mark(SessionStatus.PENDING, changes, reason, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def sweep_pending_sessions(
        self,
        scaling_group: ScalingGroupName,
        limit: int = DEFAULT_LIMIT,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransitionResult:
        """Cancel up to ``limit`` sessions of a group that have been pending for longer than it allows.

        The time counts from the last entry into the queue or the requested start, by the database's clock.
        Raises ScalingGroupNotFound, and InvalidInput for a ``limit`` below 1.
        """
        check_lease(lease, scaling_group)
        check_range(limit, Limit63, "limit")

        async def sweep(write: WriteTransaction) -> TransitionResult:
            expired = await self._db_source.lock_expired_sessions(write.db_sess, scaling_group, limit)
            target = StatusChange(SessionStatus.CANCELLED, _SWEPT, only_from=SessionStatus.PENDING)
            return await change_statuses(write, target, [*map(SessionChange, expired)])

        return await _SWEEP_PENDING_SESSIONS.run(
            self._db, sweep, request=(scaling_group, limit), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.WRITE)
    async def recover_lost_sessions(
        self,
        scaling_group: ScalingGroupName,
        action: LostSessionAction,
        limit: int = DEFAULT_LIMIT,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> RecoveryResult:
        """Take up to ``limit`` sessions of a group off its lost agents: back into the queue, or to ERROR.

        A session goes whole, with its kernels on other agents, which are to be told to end them. In the queue
        it keeps its place, its retry is counted and the lost agents are remembered as failed. One that was
        told to end becomes ERROR whatever the action: its user may have ended it, so it must not run again.

        Call it until nothing is requeued or failed: only what was rejected is left on lost agents then. Where
        as many are rejected as ``limit``, those behind them are not reached: mend the counters first. An agent
        that has returned keeps its sessions. Raises ScalingGroupNotFound, and InvalidInput for a ``limit``
        below 1. Costs at most 24 statements, 25 with a lease; time grows with the batch and the lost agents.
        """
        check_lease(lease, scaling_group)
        check_kind(action, LostSessionAction, "action")
        check_range(limit, Limit31, "limit")

        async def recover(write: WriteTransaction) -> RecoveryResult:
            source = self._db_source
            locked, blocked = await source.lock_sessions_on_lost_agents(write.db_sess, scaling_group, limit)
            batches: dict[SessionStatus, list[SessionChange]] = {}
            for change, status in locked:
                again = action is LostSessionAction.REQUEUE and status is not SessionStatus.TERMINATING
                batches.setdefault(SessionStatus.PENDING if again else SessionStatus.ERROR, []).append(change)
            results = [
                await change_statuses(write, StatusChange(to_status, _LOST), batch)
                for to_status, batch in sorted(batches.items())
            ]
            changed = {result.to_status: result.changed for result in results}
            return RecoveryResult(
                changed.get(SessionStatus.PENDING, ()),
                changed.get(SessionStatus.ERROR, ()),
                (
                    *(each for result in results for each in result.rejected),
                    *(reject_blocked(session_id, row) for session_id, row in sorted(blocked.items())),
                ),
                write.transaction_id,
            )

        return await _RECOVER_LOST_SESSIONS.run(
            self._db, recover, request=(scaling_group, action, limit), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.READ)
    async def list_undispatched_sessions(
        self, scaling_group: ScalingGroupName, limit: Optional[int] = None
    ) -> tuple[UndispatchedSession, ...]:
        """List the allocated sessions whose agents were not told yet, the longest allocated first.

        Tell the agents first, naming the attempt, then ``mark_dispatched``: a process that is killed between
        the two finds the session here again, and an agent that was told before knows the attempt. Raises
        ScalingGroupNotFound. Costs one statement, two if there are none.
        """
        check_length(scaling_group, "scaling group")
        if limit is not None:
            check_range(limit, Limit63, "limit")
        rows = await self._read(self._db_source.list_undispatched_kernels, scaling_group, limit)
        return await undispatched_from_rows(rows)

    @_resilience.apply(OperationKind.WRITE)
    async def mark_dispatched(
        self,
        dispatches: Sequence[SessionAttempt],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> DispatchResult:
        """Mark attempts as dispatched: one of several callers gets each, the others find it rejected.

        Costs four statements, five with a lease.
        """
        checked_batch(dispatches, SessionAttempt, "dispatches")
        check_ids([dispatch.session_id for dispatch in dispatches], "session")
        check_lease(lease)
        if not dispatches:
            return DispatchResult((), ())
        group = None if lease is None else lease.scaling_group

        async def dispatch(write: WriteTransaction) -> DispatchResult:
            marked, blocked = await self._db_source.dispatch_sessions(write.db_sess, dispatches, group)
            write.changed_sessions.update(marked)
            wanted = dict.fromkeys(dispatch.session_id for dispatch in dispatches)
            return DispatchResult(
                tuple(each for each in wanted if each in marked),
                tuple(each for each in wanted if each not in marked),
                write.transaction_id,
                tuple(reject_blocked(each, blocked[each]) for each in wanted if each in blocked),
            )

        return await _MARK_DISPATCHED.run(
            self._db, dispatch, request=dispatches, operation_id=operation_id, lease=lease
        )

    async def _mark(
        self,
        to_status: SessionStatus,
        changes: Sequence[SessionChange],
        reason: Optional[str],
        lease: Optional[Lease],
        operation_id: Optional[OperationId],
    ) -> TransitionResult:
        check_ids([change.session_id for change in changes], "session")
        check_lease(lease)
        if not changes:
            return TransitionResult(to_status, (), ())
        check_reason(reason)
        async for change in in_slices(changes):
            _check_change(change)
        target = StatusChange(to_status, reason, scaling_group=None if lease is None else lease.scaling_group)
        return await _MARK_SESSIONS.run(
            self._db,
            lambda write: change_statuses(write, target, changes),
            request=(to_status, changes, reason),
            operation_id=operation_id,
            lease=lease,
        )


async def _build_changes(
    reports: Sequence[Union[SessionStart, SessionEnd, SessionRetry]],
) -> list[SessionChange]:
    """Build the changes that reports ask for: a report's fields are fields of a SessionChange too."""
    return [SessionChange(**msgspec.structs.asdict(report)) async for report in in_slices(reports)]


def _build_change(session: Union[SessionId, SessionAttempt]) -> SessionChange:
    if isinstance(session, SessionAttempt):
        return SessionChange(session.session_id, retry_count=session.retry_count)
    return SessionChange(session)


def _check_change(change: SessionChange) -> None:
    # The database would fail the batch without saying whose these are; a kernel id that is no UUID would be
    # stored in the result, and could not be read from there.
    subject = f"session {change.session_id}"
    for name, given in (("exit_codes", change.exit_codes), ("occupied_slots", change.occupied_slots)):
        if not isinstance(given, Mapping):
            raise InvalidInput(f"{subject}: {name} is {quoted(given)}; give a mapping by kernel id")
    check_ids([*change.exit_codes, *change.occupied_slots], f"{subject}: kernel")
    if change.result not in (None, *SessionResult):
        raise InvalidInput(
            f"{subject}: the result {quoted(change.result)} is none; give a SessionResult or None"
        )
    if not isinstance(change.failed_agent_ids, tuple):
        raise InvalidInput(f"{subject}: failed_agent_ids is {quoted(change.failed_agent_ids)}; give a tuple")
    check_stored_agent_ids(change.failed_agent_ids, f"{subject}: agent id")
