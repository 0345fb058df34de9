"""What one tick reads from PostgreSQL and writes back to it."""

from collections.abc import Sequence
from time import perf_counter
from typing import Optional

import msgspec

from scheduler_repo.database.collector import collector_relaxed
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.database.lookups import SNAPSHOT
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.allocation import AllocationResult, SessionAllocation
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.scheduling_data import DatabaseIdentity, SchedulingData
from scheduler_repo.metrics.reads import observe_read
from scheduler_repo.metrics.received import bytes_received
from scheduler_repo.repositories.scheduler.allocating import allocate_batch
from scheduler_repo.repositories.scheduler.auditing import count_overcommitted
from scheduler_repo.repositories.scheduler.reading import count_rows, fetch_raw_scheduling_data
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import build_scheduling_data, finish_in_slices
from scheduler_repo.types import OperationId, ScalingGroupName
from scheduler_repo.validation import Limit31, check_ids, check_range, check_text

_ALLOCATE_SESSIONS = IdempotentWrite("allocate_sessions", AllocationResult)


class TimedSchedulingData(msgspec.Struct, frozen=True):
    """A SchedulingData and where the time for it went, in seconds; nothing was read if it was cached."""

    data: SchedulingData
    read_seconds: float
    transform_seconds: float


_resilience = layer_resilience(LayerType.SCHEDULER_DB_SOURCE)


class SchedulerDBSource:
    """Reads the state of one scaling group in one snapshot, and writes a tick's decisions."""

    def __init__(self, engine: ExtendedAsyncSAEngine, *, relax_collector: bool = True) -> None:
        """Take an engine; ``relax_collector`` False leaves the cyclic collector of the process alone."""
        self._engine = engine
        self._relax_collector = relax_collector
        self._identity: Optional[DatabaseIdentity] = None

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
    ) -> TimedSchedulingData:
        """Read what one tick of a group needs, true of one instant.

        Raises ScalingGroupNotFound, InvalidInput for a ``pending_limit`` below 1, and the errors of the
        database layer. Costs 14 statements in one transaction, whatever the size; time grows with the group's
        pending kernels and agents and with the cluster's occupying kernels, not with what has finished.
        """
        if pending_limit is not None:
            check_range(pending_limit, Limit31, "pending_limit")
        with collector_relaxed(enabled=self._relax_collector):
            started = perf_counter()
            async with self._engine.begin_readonly_session() as db_sess:
                driver = driver_connection(db_sess)
                before = bytes_received(driver)
                raw = await fetch_raw_scheduling_data(db_sess, scaling_group, pending_limit)
                after = bytes_received(driver)
            fetched = perf_counter()
            received = None if before is None or after is None else after - before
            observe_read(scaling_group, count_rows(raw), received)
            steps = build_scheduling_data(raw)
            # The rows are gone with the last step, before the collector would look at all of them.
            del raw
            data = await finish_in_slices(steps)
        self._identity = data.database
        return TimedSchedulingData(data, fetched - started, perf_counter() - fetched)

    @_resilience.apply(OperationKind.READ)
    async def get_database_identity(self) -> DatabaseIdentity:
        """Return which database this is, as last read; raises the errors of the database layer.

        Costs one statement the first time.
        """
        if self._identity is None:
            async with self._engine.begin_readonly_session() as db_sess:
                (row,) = await fetch_rows(db_sess, SNAPSHOT)
            self._identity = DatabaseIdentity(*row[2:])
        return self._identity

    @_resilience.apply(OperationKind.WRITE)
    async def allocate_sessions(
        self,
        scaling_group: ScalingGroupName,
        allocations: Sequence[SessionAllocation],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> AllocationResult:
        """Place pending sessions of a group on agents, each all or nothing, and say which could not be.

        Raises ScalingGroupNotFound, StaleLeaseError, OperationMismatch, InvalidInput for a lease of another
        group or an id that is none, and the errors of the database layer; then nothing was written, save after
        OutcomeUnknown. Costs 19 statements in one transaction, one more with a lease; time grows with the batch
        and with the cluster's occupying kernels.
        """
        check_lease(lease, scaling_group)
        check_ids("session", [allocation.session_id for allocation in allocations])
        check_ids("kernel", [kernel.kernel_id for allocation in allocations for kernel in allocation.kernels])
        for allocation in allocations:
            for kernel in allocation.kernels:
                check_text(kernel.agent_id, "agent id")
        if not allocations:
            return AllocationResult((), ())
        return await _ALLOCATE_SESSIONS.run(
            self._engine,
            lambda write: allocate_batch(write, scaling_group, allocations),
            request=(scaling_group, allocations),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.READ)
    async def count_overcommitted_agents(self, scaling_group: ScalingGroupName) -> int:
        """Count the agents of a group whose kernels together occupy more than the agent has.

        Counted from the kernels, not from the ledger. Raises ScalingGroupNotFound and the errors of the
        database layer. Costs two statements; time grows with the group's occupying kernels.
        """
        async with self._engine.begin_readonly_session() as db_sess:
            return await count_overcommitted(db_sess, scaling_group)
