"""The main job on real input: a production cluster's trace, from the CSVs to the last tick."""

from collections.abc import AsyncIterator

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.tick import Tick
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.trace import read_trace
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.trace_location import needs_trace, trace_directory

GROUP = ScalingGroupName("openb")
CUDA_SHARES = 2

# What each agent holds by its kernels alone, against its capacity: nothing of the engine's is used.
_OVERCOMMITTED = """
SELECT count(*) FROM (
    SELECT k.agent_id, t.name, sum(k.occupied_slots[t.slot_index + 1]) AS occupied
    FROM kernels AS k CROSS JOIN slot_types AS t
    WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') GROUP BY 1, 2) AS held
LEFT JOIN agent_slots AS s ON s.agent_id = held.agent_id AND s.slot_name = held.name
WHERE held.occupied > coalesce(s.capacity, 0)
"""
_COUNT = "SELECT count(*) FROM sessions WHERE status = "


@needs_trace
class TestTraceRun:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    @pytest.fixture
    def trace(self) -> ClusterSpec:
        directory = trace_directory()
        return read_trace(directory / "nodes.csv", directory / "pods.csv", GROUP)

    async def test_the_whole_trace_at_once(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database, trace: ClusterSpec
    ) -> None:
        # When every task is offered to every node
        ticks = await self._run(engine, trace)
        # Then at least as many are placed as by a naive best fit in trace order, which places 7,866 and 94.4 %
        placed = sum(len(tick.allocated) for tick in ticks)
        data = ticks[-1].data
        assert placed + len(data.pending_sessions) == len(trace.sessions) == 8_152
        assert placed >= 7_850
        capacity = sum(agent.capacity[CUDA_SHARES] for agent in data.agents)
        assert capacity == 6_212_000
        occupied = sum(agent.occupied[CUDA_SHARES] for agent in data.agents)
        assert 100 * occupied >= 94 * capacity
        assert not any(tick.rejected for tick in ticks)
        self._assert_reasons_are_true(data)
        await self._assert_database_agrees(migrated_database, placed)

    @pytest.mark.slow
    async def test_on_half_the_nodes_every_waiting_task_has_a_true_reason(
        self, engine: ExtendedAsyncSAEngine, migrated_database: Database, trace: ClusterSpec
    ) -> None:
        # Given too few nodes for all tasks
        half = msgspec.structs.replace(trace, agents=trace.agents[::2])
        # When the loop has settled
        ticks = await self._run(engine, half)
        # Then thousands wait, and each for the reason that is given
        data = ticks[-1].data
        placed = sum(len(tick.allocated) for tick in ticks)
        assert placed + len(data.pending_sessions) == 8_152
        assert len(data.pending_sessions) > 2_000
        self._assert_reasons_are_true(data)
        await self._assert_database_agrees(migrated_database, placed)

    async def _run(self, engine: ExtendedAsyncSAEngine, cluster: ClusterSpec) -> tuple[Tick, ...]:
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster)
        repository = SchedulerRepository(SchedulerDBSource(engine))
        return await SchedulerLoop(repository, BestFitPlanner(), GROUP).run_until_settled()

    def _assert_reasons_are_true(self, data: SchedulingData) -> None:
        reasons = {waiting.session_id: waiting.reason for waiting in waiting_reasons(data)}
        assert len(reasons) == len(data.pending_sessions)
        for session in data.pending_sessions:
            assert reasons[session.session_id] is _true_reason(session, data)

    async def _assert_database_agrees(self, database: Database, placed: int) -> None:
        async with database.driver_as(ADMIN) as driver:
            assert await driver.fetchval(_OVERCOMMITTED) == 0
            assert await driver.fetchval(f"{_COUNT} 'SCHEDULED'") == placed
            assert await driver.fetchval(f"{_COUNT} 'PENDING'") == 8_152 - placed


def _true_reason(session: PendingSession, data: SchedulingData) -> WaitingReason:
    """Why a task of the trace waits, by a look at every agent: it has one kernel, no limits, no wishes."""
    (kernel,) = session.kernels
    wanted = kernel.requested_slots
    fits_empty = fits_now = False
    for agent in data.agents:
        free = [total - used for total, used in zip(agent.capacity, agent.occupied, strict=True)]
        fits_empty |= all(amount <= total for amount, total in zip(wanted, agent.capacity, strict=True))
        fits_now |= all(amount <= left for amount, left in zip(wanted, free, strict=True))
    if fits_now:
        return WaitingReason.PLACEABLE
    return WaitingReason.NOT_ENOUGH_FREE if fits_empty else WaitingReason.LARGER_THAN_ANY_AGENT
