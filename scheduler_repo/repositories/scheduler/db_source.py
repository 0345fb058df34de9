"""The statements of a scheduler's tick: one read of a group's whole state, and the write of its decisions."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from time import perf_counter
from typing import Optional, Union

import msgspec

from scheduler_repo.database import lookups
from scheduler_repo.database.agent_counters import change_agent_counters
from scheduler_repo.database.collector import collector_relaxed
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.identity import record_origin
from scheduler_repo.database.locked_state import lock_state
from scheduler_repo.database.locks import LOCK_SESSIONS
from scheduler_repo.database.log_keeping import note_logs
from scheduler_repo.database.row_locks import SESSION_ROWS, take_all
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.database.statements import (
    Statement,
    change_rows,
    fetch_beside,
    fetch_rows,
    load_statement,
)
from scheduler_repo.database.status_changes import write_sessions
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.metrics.reads import bytes_received, count_unreadable, observe_read
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.repositories.scheduler.changes import fetch_changes
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.allocations import Decisions, LockedState
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.deltas.rows import RawChanges
from scheduler_repo.scheduling.snapshot.build import (
    RawSchedulingData,
    build_scheduling_data,
    build_surroundings,
)
from scheduler_repo.scheduling.snapshot.owners import take_sessions
from scheduler_repo.scheduling.snapshot.pending import build_kernels
from scheduler_repo.scheduling.snapshot.rows import PendingOwners, SurroundingRows
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import ScalingGroupName, SessionStatus
from scheduler_repo.validation import Limit31, check_range

PENDING_SESSIONS = load_statement("scheduler/pending_sessions")
SCHEDULABLE_AGENTS = load_statement("scheduler/schedulable_agents")
SCHEDULABLE_AGENT_SLOTS = load_statement("scheduler/schedulable_agent_slots")
PREEMPTION_CANDIDATES = load_statement("scheduler/preemption_candidates")
SCHEDULE_KERNELS = load_statement("scheduler/schedule_kernels")
RENEW_SERVER_LIFE = load_statement("delta/renew_server_life")
OVERCOMMITTED_AGENTS = Statement("overcommitted_agents", read_sql_file("audit/overcommitted_agents.sql"))

TICK_STATEMENTS: tuple[Statement, ...] = (
    lookups.SNAPSHOT,
    lookups.SCALING_GROUP,
    lookups.SLOT_TYPES,
    PENDING_SESSIONS,
    lookups.PENDING_KERNELS,
    lookups.PENDING_DEPENDENCIES,
    SCHEDULABLE_AGENTS,
    SCHEDULABLE_AGENT_SLOTS,
    lookups.RESERVATIONS,
    PREEMPTION_CANDIDATES,
    lookups.OWNERS,
)

_resilience = layer_resilience(LayerType.SCHEDULER_DB_SOURCE)


class TimedSchedulingData(msgspec.Struct, frozen=True):
    """A SchedulingData and how long it took, in seconds; both are 0 for an answer of the cache."""

    data: SchedulingData
    read_seconds: float
    transform_seconds: float


class SchedulerDBSource(DBSource):
    """Reads the state of one scaling group in one snapshot, and writes a tick's decisions.

    Reads have transactions of their own, as a cache chooses between this source and itself.
    """

    def __init__(self, engine: ExtendedAsyncSAEngine, *, relax_collector: bool = True) -> None:
        """Connect to nothing yet; raises InvalidWiring for what is no engine.

        A large read pauses the process's cyclic garbage collector unless ``relax_collector`` is False.
        """
        super().__init__(engine)
        self._relax_collector = relax_collector

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
    ) -> TimedSchedulingData:
        """Read everything that one tick of a group needs, true of one instant.

        Raises ScalingGroupNotFound, InvalidInput for a ``pending_limit`` below 1, and the errors of the
        database layer. Costs 11 statements in one transaction, whatever the size; time grows with the group's
        pending kernels and agents and with the cluster's occupying kernels, not with what has finished.
        """
        if pending_limit is not None:
            check_range(pending_limit, Limit31, "pending_limit")
        with self.collector_relaxed():
            started = perf_counter()
            async with self.engine.begin_readonly_session() as db_sess:
                driver = driver_connection(db_sess)
                before = bytes_received(driver)
                raw = await self.fetch_raw_scheduling_data(db_sess, scaling_group, pending_limit)
                after = bytes_received(driver)
            fetched = perf_counter()
            received = None if before is None or after is None else after - before
            observe_read(scaling_group, raw.row_count, received)
            steps = build_scheduling_data(raw)
            # The rows are gone with the last step, before the collector would look at all of them.
            del raw
            data = await finish_in_slices(steps)
        record_origin(data.token.database)
        count_unreadable(data.unreadable)
        return TimedSchedulingData(data, fetched - started, perf_counter() - fetched)

    @_resilience.apply(OperationKind.READ)
    async def get_changes(self, base: IndexedBase) -> Union[RawChanges, FullReadReason]:
        """Read what may differ from a base, all of one snapshot; a reason where all must be read anew.

        Raises ScalingGroupNotFound and the errors of the database layer. Costs one to six statements in one
        transaction; time grows with what has changed.
        """
        async with self.engine.begin_readonly_session(reuses_plans=True) as db_sess:
            return await fetch_changes(db_sess, base)

    def collector_relaxed(self) -> AbstractContextManager[None]:
        """Pause the collector in the block, as a large read does."""
        return collector_relaxed(enabled=self._relax_collector)

    @_resilience.apply(OperationKind.WRITE)
    async def renew_server_life(self) -> None:
        """Begin a new history of the change log where a crash has ended the last; costs one statement.

        Raises DatabaseReadOnly on a standby, and the other errors of the database layer.
        """
        async with self.engine.begin_session() as db_sess:
            await fetch_rows(db_sess, RENEW_SERVER_LIFE)

    async def fetch_raw_scheduling_data(
        self, db_sess: SASession, scaling_group: ScalingGroupName, pending_limit: Optional[int]
    ) -> RawSchedulingData:
        """Run the 11 statements of one tick; raises ScalingGroupNotFound."""
        # The first statement takes the snapshot.
        (snapshot,) = await fetch_rows(db_sess, lookups.SNAPSHOT)
        note_logs(db_sess, is_long=snapshot["is_log_long"])
        groups = await fetch_rows(db_sess, lookups.SCALING_GROUP, scaling_group)
        if not groups:
            raise lookups.no_such_group(scaling_group)
        rows = await fetch_rows(db_sess, PENDING_SESSIONS, scaling_group, pending_limit)
        window = None if pending_limit is None else [row[0] for row in rows]
        row_count = 2 + len(rows)
        # What an answer allows to build is built while the server works on the next ones: the largest first.
        kernel_rows, (owners, sessions) = await fetch_beside(
            fetch_rows(db_sess, lookups.PENDING_KERNELS, scaling_group, window), take_sessions(rows)
        )
        row_count += len(kernel_rows)
        surrounding_rows, kernels = await fetch_beside(
            _fetch_surroundings(db_sess, scaling_group, owners), build_kernels(kernel_rows)
        )
        row_count += surrounding_rows.row_count
        steps = build_surroundings(surrounding_rows)
        del surrounding_rows
        dependencies, surroundings = await fetch_beside(
            fetch_rows(db_sess, lookups.PENDING_DEPENDENCIES, scaling_group, window), steps
        )
        return RawSchedulingData(
            pending_limit=pending_limit,
            snapshot=snapshot,
            scaling_group=groups[0],
            surroundings=surroundings,
            pending_sessions=sessions,
            pending_kernels=kernels,
            pending_dependencies=dependencies,
            row_count=row_count + len(dependencies),
        )

    async def lock_batch(
        self, db_sess: SASession, scaling_group: ScalingGroupName, allocations: Sequence[SessionAllocation]
    ) -> LockedState:
        """Lock a batch's sessions, owners and agents by id, and read the state that it is judged by.

        Raises ScalingGroupNotFound. Costs 11 statements.
        """
        session_ids = sorted({allocation.session_id for allocation in allocations})
        agent_ids = sorted({kernel.agent_id for allocation in allocations for kernel in allocation.kernels})
        free_ids, blocked = await take_all(db_sess, session_ids, *SESSION_ROWS)
        sessions = await fetch_rows(db_sess, LOCK_SESSIONS, free_ids)
        return await lock_state(db_sess, scaling_group, sessions, agent_ids, blocked=blocked)

    async def place_sessions(self, db_sess: SASession, decisions: Decisions) -> None:
        """Place the accepted sessions of a batch whose rows are locked; costs four statements."""
        placed = [
            (each.kernel_id, each.agent_id)
            async for one in in_slices(decisions.accepted)
            for each in one.kernels
        ]
        await change_rows(db_sess, SCHEDULE_KERNELS, 2, placed)
        pending = {allocation.session_id: SessionStatus.PENDING for allocation in decisions.accepted}
        await write_sessions(db_sess, pending, SessionStatus.SCHEDULED)
        await change_agent_counters(db_sess, decisions.added, sign=1)

    async def count_overcommitted(self, db_sess: SASession, scaling_group: ScalingGroupName) -> int:
        """Count overcommitted agents; raises ScalingGroupNotFound. Costs two statements."""
        await lookups.require_group(db_sess, scaling_group)
        ((count,),) = await fetch_rows(db_sess, OVERCOMMITTED_AGENTS, scaling_group)
        return int(count)


async def _fetch_surroundings(
    db_sess: SASession, scaling_group: ScalingGroupName, owners: PendingOwners
) -> SurroundingRows:
    # The driver writes the owners' ids in one piece: here, where no step is run beside it yet.
    owner_rows = await fetch_rows(db_sess, lookups.OWNERS, *owners.parameters)
    return SurroundingRows(
        slot_types=await fetch_rows(db_sess, lookups.SLOT_TYPES),
        agents=await fetch_rows(db_sess, SCHEDULABLE_AGENTS, scaling_group),
        agent_slots=await fetch_rows(db_sess, SCHEDULABLE_AGENT_SLOTS, scaling_group),
        reservations=await fetch_rows(db_sess, lookups.RESERVATIONS, scaling_group),
        preemption_candidates=await fetch_rows(db_sess, PREEMPTION_CANDIDATES, scaling_group),
        owners=owners,
        owner_rows=owner_rows,
    )
