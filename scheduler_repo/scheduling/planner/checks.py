"""The checks of a planner that somebody else wrote, and of what it returns."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Final, Optional

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import InvalidInput, InvalidWiring
from scheduler_repo.quoting import shortened, with_article
from scheduler_repo.scheduling.planner.protocol import IncrementalPlan, IncrementalPlanner, Planner

# What the gate does not find is gone by then, or was invented by the planner.
_UNKNOWN: Final = frozenset(
    {
        RejectionCode.SESSION_UNKNOWN,
        RejectionCode.OTHER_GROUP,
        RejectionCode.KERNELS_DIFFER,
        RejectionCode.AGENT_UNKNOWN,
    }
)


def check_planner(planner: object) -> None:
    """Raise InvalidWiring for what is no planner, such as a planner's class."""
    if isinstance(planner, type):
        raise InvalidWiring(f"planner is the class {planner.__name__}; give an object, {planner.__name__}()")
    plan = getattr(planner, "plan", None)
    if not callable(plan):
        raise InvalidWiring(
            f"planner is {with_article(type(planner))} without a method plan(data); give an object that has "
            "one, such as BestFitPlanner()"
        )
    _check_function(planner, "plan", plan, "the data", "a sequence of SessionAllocation")
    if isinstance(planner, IncrementalPlanner):
        _check_function(planner, "plan_changes", planner.plan_changes, "the refresh", "an IncrementalPlan")


def check_incremental_plan(plan: object, planner: IncrementalPlanner) -> IncrementalPlan:
    """Return what ``planner`` made of changes if it is a plan; raises InvalidInput for anything else."""
    if isinstance(plan, IncrementalPlan) and isinstance(plan.allocations, Sequence):
        return plan
    raise InvalidInput(
        f"{type(planner).__name__}.plan_changes() returned {with_article(type(plan))}; it must be an "
        "IncrementalPlan of a sequence of SessionAllocation"
    )


def _check_function(
    planner: object, name: str, function: Callable[..., object], argument: str, result: str
) -> None:
    if inspect.iscoroutinefunction(function):
        raise InvalidWiring(
            f"{type(planner).__name__}.{name}() is a coroutine function; it must be a plain function that "
            f"returns {result}, as it runs in a thread"
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InvalidWiring(f"{type(planner).__name__}.{name}() must take {argument} alone: {error}") from None


def find_invented(data: SchedulingData, rejected: Sequence[RejectedAllocation]) -> Optional[str]:
    """Return, in words, the first that a planner placed and its data does not have; None if there is none."""
    for each in rejected:
        if each.code not in _UNKNOWN:
            continue
        if each.code is RejectionCode.AGENT_UNKNOWN:
            if all(agent.agent_id != each.agent_id for agent in data.agents):
                return (
                    f"session {each.session_id} on agent {shortened(each.agent_id)}, which is not in its data"
                )
        elif all(session.session_id != each.session_id for session in data.pending_sessions):
            return f"session {each.session_id}, which is not in its data"
        elif each.code is RejectionCode.KERNELS_DIFFER:
            return f"other kernels of session {each.session_id} than those in its data"
    return None


def check_plan(plan: object, planner: Planner) -> Sequence[SessionAllocation]:
    """Return what ``planner`` made if it is a sequence; raises InvalidInput for anything else."""
    if isinstance(plan, Sequence):
        return plan
    if asyncio.iscoroutine(plan):
        plan.close()
    raise InvalidInput(
        f"{type(planner).__name__}.plan() returned {with_article(type(plan))}; it must be a plain "
        "function that returns a sequence of SessionAllocation"
    )
