"""A loop's planner: asked for what it takes, its nonsense refused, its plans compared with full ones."""

from collections.abc import Sequence
from typing import Optional

import pytest

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.errors import InvalidInput
from scheduler_repo.planning import PlanRunner
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import FullPlanReason, IncrementalPlan
from scheduler_repo.types import ScalingGroupName
from tests.scheduling.histories import first_refresh
from tests.support.strategies import make_agent, make_data, make_session

DATA = make_data((make_agent("a", (4, 4, 0)),), (make_session(1, (2, 0, 0)), make_session(2, (2, 0, 0))))
GROUP = DATA.scaling_group.name
PLAN = BestFitPlanner().plan(DATA)


class Reversed(BestFitPlanner):
    """Places what it does in another order than any other planner."""

    def plan(self, data: SchedulingData) -> tuple[SessionAllocation, ...]:
        return super().plan(data)[::-1]


class Wrong:
    """Places from changes what a test says, and forgets."""

    def __init__(self, made: object) -> None:
        self.made = made
        self.forgotten: list[Optional[ScalingGroupName]] = []

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        return PLAN

    def plan_changes(self, refresh: Refresh) -> IncrementalPlan:
        assert isinstance(self.made, IncrementalPlan)
        return self.made

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        self.forgotten.append(scaling_group)


class Nonsense(Wrong):
    """Returns what is no plan."""

    def plan_changes(self, refresh: Refresh) -> IncrementalPlan:
        return self.made  # type: ignore[return-value]


class Failing(Wrong):
    """Cannot plan from everything."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        raise LookupError("gone")


class TestPlan:
    async def test_a_subclass_plans_in_its_own_way(self) -> None:
        refresh = first_refresh(DATA)
        assert await PlanRunner(Reversed(), GROUP).plan(DATA, refresh) == PLAN[::-1]
        assert Reversed().plan_changes(refresh).reason is FullPlanReason.OVERRIDDEN

    async def test_without_changes_it_plans_from_everything(self) -> None:
        assert await PlanRunner(Wrong(None), GROUP).plan(DATA, None) == PLAN

    @pytest.mark.parametrize("made", [None, PLAN, IncrementalPlan(iter(PLAN))])  # type: ignore[arg-type]
    async def test_what_is_no_plan_is_refused(self, made: object) -> None:
        with pytest.raises(InvalidInput, match=r"Nonsense.plan_changes\(\) returned .* an IncrementalPlan"):
            await PlanRunner(Nonsense(made), GROUP).plan(DATA, first_refresh(DATA))


class TestComparison:
    async def test_the_same(self) -> None:
        planner = Wrong(None)
        assert await PlanRunner(planner, GROUP).compare(DATA, list(PLAN)) is ComparisonOutcome.EQUAL
        assert planner.forgotten == []

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (PLAN[:1], f"session {PLAN[1].session_id} on a is placed from everything only"),
            (PLAN + PLAN[:1], f"session {PLAN[0].session_id} on a is placed from what has changed only"),
            (PLAN[::-1], f"at place 0 session {PLAN[1].session_id} on a from what has changed, session"),
        ],
    )
    async def test_another_plan_is_logged_and_forgotten(
        self, made: Sequence[SessionAllocation], said: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        planner = Wrong(None)
        assert await PlanRunner(planner, GROUP).compare(DATA, made) is ComparisonOutcome.DIFFERENT
        assert planner.forgotten == [GROUP]
        assert said in caplog.text

    async def test_one_that_fails_ends_nothing(self, caplog: pytest.LogCaptureFixture) -> None:
        assert await PlanRunner(Failing(None), GROUP).compare(DATA, PLAN) is ComparisonOutcome.FAILED
        assert "was not compared: LookupError: gone" in caplog.text
