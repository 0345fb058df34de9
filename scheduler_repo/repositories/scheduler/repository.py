"""The scheduler's repository: what spans entities for one tick."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.allocation import AllocationResult, SessionAllocation
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ScalingGroupName, TransactionId
from scheduler_repo.validation import check_staleness

_resilience = layer_resilience(LayerType.SCHEDULER_REPOSITORY, retries=False)


class SchedulerRepository:
    """One tick's read and writes; with a cache source, readers may ask for a somewhat older answer."""

    def __init__(
        self, db_source: SchedulerDBSource, cache_source: Optional[SchedulerCacheSource] = None
    ) -> None:
        """Take the database source and, where readers share answers through Redis, the cache source."""
        self._db_source = db_source
        self._cache_source = cache_source

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        pending_limit: Optional[int] = None,
        after: Optional[TransactionId] = None,
    ) -> SchedulingData:
        """Return all that one tick of a group needs, true of one instant.

        ``max_staleness`` is in seconds: 0 always asks the database; more allows an answer that is so old, from
        the cache if there is one. ``pending_limit`` bounds the queue and is never answered from the cache.
        ``after`` is the transaction id of a write that the answer must have seen, however old it may be.
        Raises ScalingGroupNotFound, InvalidInput and the errors of the database layer. Costs 14 statements, or
        one round trip to Redis.
        """
        timed = await self.get_timed_scheduling_data(scaling_group, max_staleness, pending_limit, after)
        return timed.data

    @_resilience.apply(OperationKind.READ)
    async def get_timed_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        pending_limit: Optional[int] = None,
        after: Optional[TransactionId] = None,
    ) -> TimedSchedulingData:
        """Do as ``get_scheduling_data`` does, and say where the time went (seconds)."""
        check_staleness(max_staleness)
        if self._cache_source is not None and pending_limit is None:
            return await self._cache_source.get_scheduling_data(scaling_group, max_staleness, after)
        return await self._db_source.get_scheduling_data(scaling_group, pending_limit)

    @_resilience.apply(OperationKind.WRITE)
    async def allocate_sessions(
        self,
        scaling_group: ScalingGroupName,
        allocations: Sequence[SessionAllocation],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AllocationResult:
        """Place pending sessions of a group on agents, each all or nothing, and say which could not be.

        No agent is overcommitted and no quota exceeded, whoever writes at the same time; among the sessions of
        a batch the earlier win. Asking again under the same ``operation_id`` answers the same and writes
        nothing twice. Raises ScalingGroupNotFound, StaleLeaseError, OperationMismatch, InvalidInput for a lease
        of another group or an id that is none, and the errors of the database layer; then nothing was written,
        save after OutcomeUnknown. Costs 19 statements in one transaction, one more with a lease; time grows
        with the batch and with the cluster's occupying kernels.
        """
        return await self._db_source.allocate_sessions(scaling_group, allocations, lease, operation_id)

    @_resilience.apply(OperationKind.READ)
    async def count_overcommitted_agents(self, scaling_group: ScalingGroupName) -> int:
        """Count the agents of a group whose kernels together occupy more than the agent has.

        Counted from the kernels, not from the ledger. Raises ScalingGroupNotFound and the errors of the
        database layer. Costs two statements; time grows with the group's occupying kernels.
        """
        return await self._db_source.count_overcommitted_agents(scaling_group)
