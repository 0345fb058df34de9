"""One plan on a snapshot, without a database: what it places, what the gate refuses, and what waits then."""

from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import RejectedAllocation, SessionAllocation, checked_placements
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.admission.allocations import LockedSession, LockedState, decide
from scheduler_repo.scheduling.explain.placed import with_placed
from scheduler_repo.scheduling.explain.reasons import WaitingSession, waiting_reasons
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.checks import check_plan, check_planner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.steps import finish
from scheduler_repo.types import SessionStatus


class StillWaiting(msgspec.Struct, frozen=True, gc=False):
    """A session that waits after a plan, why, and that in words."""

    waiting: WaitingSession
    text: str


class ReplayedPlan(msgspec.Struct, frozen=True):
    """A plan on a snapshot: what it places, in its order, what of it the gate rejects, and what waits then.

    ``waiting`` are all sessions that are not placed, in queue order, each judged on what the plan has left.
    """

    placed: tuple[SessionAllocation, ...]
    rejected: tuple[RejectedAllocation, ...]
    waiting: tuple[StillWaiting, ...]


def replay_plan(data: SchedulingData, planner: Optional[Planner] = None) -> ReplayedPlan:
    """Plan one tick on a snapshot, by default with BestFitPlanner, and judge it as a write would.

    Raises InvalidWiring for what is no planner, InvalidInput for what is no plan, and what the planner raises.
    Cost: the plan, and a pass over the queue to say why its sessions wait.
    """
    planner = BestFitPlanner() if planner is None else planner
    check_planner(planner)
    plan = check_plan(planner.plan(data), planner)
    checked_placements(plan, SessionAllocation, f"the plan of {type(planner).__name__}")
    group = data.scaling_group.name
    state = LockedState(
        data,
        {
            each.session_id: LockedSession(group, SessionStatus.PENDING, each.retry_count)
            for each in data.pending_sessions
        },
        frozenset(agent.agent_id for agent in data.agents),
    )
    decisions = finish(decide(plan, state))
    after = with_placed(data, decisions.accepted)
    waiting = tuple(StillWaiting(each, describe(each, after)) for each in waiting_reasons(after))
    return ReplayedPlan(tuple(decisions.accepted), tuple(decisions.rejected), waiting)
