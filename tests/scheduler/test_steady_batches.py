"""Batch after batch on one connection costs the same: no plan goes bad once the server has seen it often."""

from statistics import median
from time import perf_counter

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.workload.synthetic import DEFAULT_SCALING_GROUP, synthetic_queue

BATCH = 500
SESSIONS = 40_000


class TestSteadyBatches:
    @pytest.mark.slow
    async def test_late_batches_cost_what_early_ones_do(
        self, engine: ExtendedAsyncSAEngine, scheduler: SchedulerRepository
    ) -> None:
        # given a long queue, and a plan for some thousands of it
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(
            synthetic_queue(1_000, SESSIONS, SESSIONS)
        )
        data = await scheduler.get_scheduling_data(DEFAULT_SCALING_GROUP)
        plan = BestFitPlanner(max_allocations=12 * BATCH).plan(data)
        assert len(plan) == 12 * BATCH
        # when it is written in batches; from the sixth use on a server may choose a plan for all parameters
        times = []
        for start in range(0, len(plan), BATCH):
            started = perf_counter()
            result = await scheduler.allocate_sessions(DEFAULT_SCALING_GROUP, plan[start : start + BATCH])
            times.append(perf_counter() - started)
            assert len(result.allocated) == BATCH
        # then the late ones take no longer (three times as long, where the server may)
        assert median(times[6:]) < 2 * median(times[1:5])
