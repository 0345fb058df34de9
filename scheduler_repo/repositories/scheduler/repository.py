"""The scheduler's repository: one tick's read and the write of its decisions."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final, Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.log_keeping import KEPT_FOR, fold_usage, trim_changes
from scheduler_repo.database.waker import ChangeWaker
from scheduler_repo.entities.allocation import AllocationResult, SessionAllocation, checked_placements
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_token import Writes, transactions_of
from scheduler_repo.errors import InvalidInput, WriteNotSeen
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.repositories.scheduler.tracker import DEFAULT_MAX_GROUPS, DEFAULT_MAX_ROWS, SnapshotTracker
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.allocations import decide
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import OperationId, ScalingGroupName
from scheduler_repo.validation import (
    MAX_BATCH_SIZE,
    BatchSize,
    WaitSeconds,
    check_duration,
    check_length,
    check_range,
    check_staleness,
)
from scheduler_repo.wiring import check_same_engine, check_wiring

_SHORTEST_KEPT: Final = timedelta(minutes=1)
_LONGEST_KEPT: Final = timedelta(days=1)

_ALLOCATE_SESSIONS = IdempotentWrite("allocate_sessions", AllocationResult, wakes=False)

_LONGEST_SECONDS: Final = 2 * 3_600.0

_resilience = layer_resilience(LayerType.SCHEDULER_REPOSITORY)
# The source that is asked opens the transaction, and retries.
_choosing = layer_resilience(LayerType.SCHEDULER_REPOSITORY, retries=False)
# Its own timeout bounds a wait.
_waiting = layer_resilience(LayerType.SCHEDULER_REPOSITORY, deadline=_LONGEST_SECONDS, retries=False)


class SchedulerRepository(Repository[SchedulerDBSource]):
    """Reads the state that a tick decides on, and writes its decisions.

    With a cache source, readers may ask for an older answer than the database's.
    """

    source_type = SchedulerDBSource

    def __init__(
        self,
        db_source: SchedulerDBSource,
        cache_source: Optional[SchedulerCacheSource] = None,
        waker: Optional[ChangeWaker] = None,
    ) -> None:
        """Raise InvalidWiring for parts of other classes; whoever made cache source and waker closes them."""
        super().__init__(db_source)
        if cache_source is not None:
            advice = "SchedulerCacheSource(redis, db_source)"
            check_wiring(cache_source, SchedulerCacheSource, "cache_source", advice)
            check_same_engine(db_source.engine, cache_source.db_source.engine)
        if waker is not None:
            check_wiring(waker, ChangeWaker, "waker", "ChangeWaker(engine)")
        self._cache_source = cache_source
        self._waker = waker

    def make_tracker(
        self, *, max_groups: int = DEFAULT_MAX_GROUPS, max_rows: int = DEFAULT_MAX_ROWS
    ) -> SnapshotTracker:
        """Make a tracker of the same database: it answers from what has changed since its answer before.

        With a cache source, its first answer is from what is in Redis, where that can be followed.
        ``SchedulerLoop`` makes one of its own. Raises InvalidInput for a bound below 1. Costs nothing yet.
        """
        return SnapshotTracker(self._db_source, self._cache_source, max_groups=max_groups, max_rows=max_rows)

    @_choosing.apply(OperationKind.READ)
    async def get_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        pending_limit: Optional[int] = None,
        after: Writes = None,
    ) -> SchedulingData:
        """Return everything that one tick of a group needs, true of one instant, read as a whole.

        Who asks again and again follows the changes instead (``make_tracker``). ``max_staleness`` is in
        seconds: 0 always asks the database; more allows an answer of that age from the cache. ``pending_limit``
        bounds the queue, and is never answered from the cache. ``after`` is the transaction id of a write that
        the answer must include, or several (``tick.transaction_ids``). Raises ScalingGroupNotFound,
        WriteNotSeen, the errors of the database layer, and InvalidInput, as for a staleness above 0 without a
        cache or beside ``pending_limit``. Costs 11 statements, or one round trip to Redis.
        """
        return (await self._ask_source(scaling_group, max_staleness, pending_limit, after)).data

    @_choosing.apply(OperationKind.READ)
    async def get_timed_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        pending_limit: Optional[int] = None,
        after: Writes = None,
    ) -> TimedSchedulingData:
        """Return what ``get_scheduling_data`` does and the seconds it took; raises and costs what that does."""
        return await self._ask_source(scaling_group, max_staleness, pending_limit, after)

    @_waiting.apply(OperationKind.READ)
    async def wait_for_changes(self, scaling_group: ScalingGroupName, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until another tick of a group may place something; False after ``timeout`` seconds.

        A hint for a loop with nothing to do: new sessions of the group, and room or limits given back anywhere,
        end the wait milliseconds after their commit; what is committed while a tick runs ends the next wait at
        once. A change may be missed, as one by another program than this package, or behind a pooler in
        transaction mode, so read again after False too. Raises EngineClosed when the repositories are closed,
        and InvalidInput for a timeout that is not above 0 and at most an hour. Costs no statement: all waits of
        the repositories share one connection that listens. Without a waker it only waits.
        """
        check_length(scaling_group, "scaling group")
        check_range(timeout, WaitSeconds, "timeout")
        if self._waker is None:
            await asyncio.sleep(timeout)
            return False
        return await self._waker.wait(scaling_group, timeout)

    @_resilience.apply(OperationKind.WRITE)
    async def allocate_sessions(
        self,
        scaling_group: ScalingGroupName,
        allocations: Sequence[SessionAllocation],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AllocationResult:
        """Place pending sessions of a group on agents, each all or nothing, or reject them with a reason.

        No agent is overcommitted and no quota exceeded, whoever writes at the same time; among the sessions of
        a batch the earlier win. Asking again under the same ``operation_id`` answers the same and writes
        nothing twice. Raises ScalingGroupNotFound, StaleLeaseError, OperationMismatch, InvalidInput for a lease
        of another group or a malformed id, and the errors of the database layer; then nothing was written,
        save after OutcomeUnknown. Costs 17 statements in one transaction, one more with a lease; time grows
        with the batch, not with what runs.
        """
        check_lease(lease, scaling_group)
        await finish_in_slices(checked_placements(allocations, SessionAllocation, "allocations"))
        if not allocations:
            return AllocationResult((), ())

        async def allocate(write: WriteTransaction) -> AllocationResult:
            locking = self._db_source.lock_batch(write.db_sess, scaling_group, allocations)
            decisions = await finish_in_slices(decide(allocations, await locking))
            allocated = tuple(allocation.session_id for allocation in decisions.accepted)
            if allocated:
                await self._db_source.place_sessions(write.db_sess, decisions)
                write.changed_sessions.update(allocated)
            return AllocationResult(allocated, tuple(decisions.rejected), write.transaction_id)

        return await _ALLOCATE_SESSIONS.run(
            self._db, allocate, request=(scaling_group, allocations), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def fold_usage(self) -> Optional[int]:
        """Add to each owner's usage what is only logged so far; each read and allocation adds up the rest.

        ``SchedulerLoop`` does it once a second where its group changes, and whoever finds 500 rows that are not
        folded has it done beside its own work (``keeps_logs_short``). Where nobody does, nothing is wrong, but
        a read or an allocation takes some 5 ms longer for every 1,000 writes since. It locks nothing that
        writers need.
        Returns how many rows of the log it was, 100,000 and the rest of a transaction at most; None if
        another process is just at it. Raises the errors of the database layer. Costs one statement; time grows
        with what was written since.
        """
        async with self._db.begin_session() as db_sess:
            return await fold_usage(db_sess)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def trim_changes(
        self, kept_for: timedelta = KEPT_FOR, batch_size: int = MAX_BATCH_SIZE
    ) -> Optional[int]:
        """Delete up to ``batch_size`` rows of each log that were written longer ago than ``kept_for``.

        ``kept_for`` is a minute at least. ``SchedulerLoop`` does it once a minute, and again where as many as
        ``batch_size`` go. Where nobody does, the logs grow without end. Who follows changes and has not looked
        for so long reads everything once. Returns how many rows went, None if another process is just at it.
        Raises InvalidInput and the errors of the database layer. Costs one statement; time grows with what
        goes.
        """
        check_duration(
            kept_for,
            "kept_for",
            f"a timedelta of {_SHORTEST_KEPT} at least, {_LONGEST_KEPT.days} days at most",
            least=_SHORTEST_KEPT,
            most=_LONGEST_KEPT,
        )
        check_range(batch_size, BatchSize, "batch_size")
        async with self._db.begin_session() as db_sess:
            return await trim_changes(db_sess, kept_for, batch_size)

    @_resilience.apply(OperationKind.READ)
    async def count_overcommitted_agents(self, scaling_group: ScalingGroupName) -> int:
        """Count the agents of a group whose kernels together occupy more than the agent has.

        Counted from the kernels, not from the agents' counters. Raises ScalingGroupNotFound and the errors of
        the database layer. Costs two statements; time grows with the group's occupying kernels.
        """
        check_length(scaling_group, "scaling group")
        return await self._read(self._db_source.count_overcommitted, scaling_group)

    async def _ask_source(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float,
        pending_limit: Optional[int],
        after: Writes,
    ) -> TimedSchedulingData:
        check_length(scaling_group, "scaling group")
        writes = transactions_of(after)
        check_staleness(max_staleness, has_cache=self._cache_source is not None)
        if max_staleness and pending_limit is not None:
            raise InvalidInput(
                "max_staleness is given beside pending_limit, which no cache answers; leave one of them out"
            )
        if self._cache_source is not None and pending_limit is None:
            timed = await self._cache_source.get_scheduling_data(scaling_group, max_staleness, writes)
        else:
            timed = await self._db_source.get_scheduling_data(scaling_group, pending_limit)
        unseen = [each for each in writes if not timed.data.has_seen(each)]
        if unseen:
            raise WriteNotSeen(
                f"the database that was read has not seen the transaction {max(unseen)}, which the answer must "
                "include; ask the server that it was written to, or this one later if it is a standby"
            )
        return timed
