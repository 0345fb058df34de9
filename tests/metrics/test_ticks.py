"""What the ticks of a loop export."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import RejectionCode, SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import ScalingGroupNotFound
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import ScalingGroupName
from tests.metrics.samples import sample

PHASES = ("read", "transform", "plan", "write")


class TwicePlanner:
    """Plans each session twice in a row; the second is a duplicate."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return [each for planned in BestFitPlanner().plan(data) for each in (planned, planned)]


class FailingPlanner:
    """Plans nothing."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        raise LookupError


class TestTicks:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SchedulerRepository:
        return SchedulerRepository(SchedulerDBSource(engine))

    async def test_figures_are_those_of_the_ticks(
        self, repository: SchedulerRepository, group: ScalingGroupName
    ) -> None:
        # given
        loop = SchedulerLoop(repository, BestFitPlanner(), group)
        # when
        first = await loop.tick()
        second = await loop.tick()
        # then
        placed = len(first.allocated) + len(second.allocated)
        assert 0 < placed == sample("scheduler_repo_allocated_sessions_total", scaling_group=group)
        waiting = sample("scheduler_repo_pending_sessions", scaling_group=group)
        assert 0 < waiting == len(second.data.pending_sessions) == 30 - len(first.allocated)
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="true") == 2
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="false") == 0

    async def test_time_of_each_phase(self, repository: SchedulerRepository, group: ScalingGroupName) -> None:
        # when
        tick = await SchedulerLoop(repository, BestFitPlanner(), group).tick()
        # then
        name = "scheduler_repo_tick_phase_duration_sec"
        for phase in PHASES:
            assert sample(f"{name}_count", scaling_group=group, phase=phase) == 1
            seconds = sample(f"{name}_sum", scaling_group=group, phase=phase)
            assert seconds == pytest.approx(getattr(tick.times, phase))
        assert msgspec.structs.fields(tick.times).__len__() == len(PHASES)

    async def test_rejected_by_code(self, repository: SchedulerRepository, group: ScalingGroupName) -> None:
        # when
        tick = await SchedulerLoop(repository, TwicePlanner(), group, batch_size=3).tick()
        # then
        assert len(tick.rejected) > 1
        for code in RejectionCode:
            expected = sum(rejection.code is code for rejection in tick.rejected)
            name = "scheduler_repo_rejected_sessions_total"
            assert sample(name, scaling_group=group, code=code.value) == expected
        assert sample("scheduler_repo_allocated_sessions_total", scaling_group=group) == len(tick.allocated)

    async def test_a_tick_that_fails(self, repository: SchedulerRepository, group: ScalingGroupName) -> None:
        # when
        with pytest.raises(LookupError):
            await SchedulerLoop(repository, FailingPlanner(), group).tick()
        # then
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="false") == 1
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="true") == 0
        name = "scheduler_repo_tick_phase_duration_sec_count"
        assert sample(name, scaling_group=group, phase="read") == 0

    async def test_a_tick_that_is_cancelled(
        self, repository: SchedulerRepository, group: ScalingGroupName
    ) -> None:
        # given
        call = asyncio.create_task(SchedulerLoop(repository, BestFitPlanner(), group).tick())
        await asyncio.sleep(0)
        # when
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        # then
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="false") == 1

    async def test_group_that_does_not_exist(self, repository: SchedulerRepository) -> None:
        # given
        group = ScalingGroupName("no such group")
        # when
        with pytest.raises(ScalingGroupNotFound):
            await SchedulerLoop(repository, BestFitPlanner(), group).tick()
        # then
        assert sample("scheduler_repo_ticks_total", scaling_group=group, success="false") == 1
        assert sample("scheduler_repo_read_rows_count", scaling_group=group) == 0
