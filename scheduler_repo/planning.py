"""Runs the planner of a loop in a thread, from what has changed where it takes that, and compares its plans."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Optional

from scheduler_repo.daemon_thread import DaemonThread
from scheduler_repo.entities.allocation import RejectedAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.entities.snapshot_comparison import ComparisonOutcome
from scheduler_repo.errors import PlannerFailed
from scheduler_repo.metrics.ticks import count_plan, count_plan_comparison
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.scheduling.planner.checks import check_incremental_plan, check_plan, find_invented
from scheduler_repo.scheduling.planner.protocol import IncrementalPlanner, Planner
from scheduler_repo.types import ScalingGroupName

_logger = get_logger(__name__)


class PlanRunner:
    """Plans the ticks of one scaling group."""

    def __init__(self, planner: Planner, scaling_group: ScalingGroupName) -> None:
        """Run a planner that ``check_planner`` has passed."""
        self._planner = planner
        self._incremental = planner if isinstance(planner, IncrementalPlanner) else None
        self._scaling_group = scaling_group
        self._thread = DaemonThread(f"planner of {scaling_group}")
        self._comparing_thread = DaemonThread(f"compared planner of {scaling_group}")
        # The plan that was begun last, and whether it took longer than it may.
        self._under_way: Optional[asyncio.Future[object]] = None
        self._hangs = False

    async def plan(
        self,
        data: SchedulingData,
        refresh: Optional[Refresh],
        *,
        timeout: Optional[float] = None,  # noqa: ASYNC109 - a thread cannot be cancelled
    ) -> Sequence[SessionAllocation]:
        """Plan one tick, in a thread; from what has changed if ``refresh`` says it and the planner takes it.

        Raises what the planner raises, InvalidInput for what is no plan, and PlannerFailed if it takes longer
        than ``timeout`` seconds. A thread cannot be ended: until that plan is made, and thrown away, each call
        raises PlannerFailed at once.
        """
        if refresh is None or self._incremental is None:
            return check_plan(await self._call(partial(self._planner.plan, data), timeout), self._planner)
        changed = await self._call(partial(self._incremental.plan_changes, refresh), timeout)
        plan = check_incremental_plan(changed, self._incremental)
        count_plan(self._scaling_group, plan)
        return plan.allocations

    async def _call(self, call: Callable[[], object], seconds: Optional[float]) -> object:
        former = self._under_way
        if former is not None and not former.done() and former.get_loop() is asyncio.get_running_loop():
            if self._hangs:
                raise self._too_slow("has still not returned from an earlier plan")
            # That of a tick that was cancelled: a planner makes one plan at a time.
            await self._wait(former, seconds)
        made = self._under_way = self._thread.start(call)
        await self._wait(made, seconds)
        return made.result()

    async def _wait(self, made: "asyncio.Future[object]", seconds: Optional[float]) -> None:
        # A wait, as a cancel of the tick must not make the future look done.
        await asyncio.wait([made], timeout=seconds)
        self._hangs = not made.done()
        if self._hangs:
            raise self._too_slow(f"has not returned in {seconds:g} s")

    def _too_slow(self, found: str) -> PlannerFailed:
        return PlannerFailed(
            f"{type(self._planner).__name__} {found}, for scaling group {quoted(self._scaling_group)}",
            scaling_group=self._scaling_group,
            advice="nothing is placed until it returns; restart the process if it never does",
        )

    def check_places(self, data: SchedulingData, rejected: Sequence[RejectedAllocation]) -> None:
        """Raise PlannerFailed if a rejected placement is of a session, kernel or agent that is not in the data.

        One that was there, and is gone by now, is no fault of the planner's. Costs nothing where nothing was
        rejected as unknown.
        """
        found = find_invented(data, rejected)
        if found is not None:
            raise PlannerFailed(
                f"{type(self._planner).__name__} placed {found}, for scaling group "
                f"{quoted(self._scaling_group)}; the other placements of the tick stand",
                scaling_group=self._scaling_group,
                advice="a planner may place the pending sessions of the data it is given on the agents in it",
            )

    def is_comparable(self) -> bool:
        """Whether its plans are made from what has changed."""
        return self._incremental is not None

    async def compare(self, data: SchedulingData, made: Sequence[SessionAllocation]) -> ComparisonOutcome:
        """Compare a plan made from what has changed with one of the same data made from everything.

        A difference is logged, and what the planner remembers is dropped; every outcome is counted, by the
        metric scheduler_repo_plan_comparison_count. Raises nothing. Costs a full plan, in a thread.
        """
        outcome = await self._compare(data, made)
        count_plan_comparison(self._scaling_group, outcome)
        return outcome

    async def _compare(self, data: SchedulingData, made: Sequence[SessionAllocation]) -> ComparisonOutcome:
        if self._incremental is None:
            return ComparisonOutcome.NOT_COMPARED
        try:
            full = check_plan(
                await self._comparing_thread.start(partial(self._planner.plan, data)), self._planner
            )
            difference = _first_difference(made, full)
            if difference is None:
                return ComparisonOutcome.EQUAL
            self._incremental.forget(self._scaling_group)
        except Exception as error:  # noqa: BLE001 - whatever a planner raises, it must not end the caller's loop
            _logger.error(
                "a plan of scaling group %s was not compared: %s: %s",
                quoted(self._scaling_group),
                type(error).__name__,
                shortened(error),
            )
            return ComparisonOutcome.FAILED
        _logger.error(
            "the plan of scaling group %s from what has changed differs from the plan from everything, and the "
            "next one is made from everything: %s",
            quoted(self._scaling_group),
            difference,
        )
        return ComparisonOutcome.DIFFERENT


def _first_difference(made: Sequence[SessionAllocation], full: Sequence[SessionAllocation]) -> Optional[str]:
    for place, (one, other) in enumerate(zip(made, full, strict=False)):
        if one != other:
            return f"at place {place} {_shown(one)} from what has changed, {_shown(other)} from everything"
    if len(made) == len(full):
        return None
    longer, where = (made, "from what has changed") if len(made) > len(full) else (full, "from everything")
    return f"{_shown(longer[min(len(made), len(full))])} is placed {where} only"


def _shown(allocation: SessionAllocation) -> str:
    agents = ", ".join(sorted({kernel.agent_id for kernel in allocation.kernels}))
    return f"session {allocation.session_id} on {shortened(agents)}"
