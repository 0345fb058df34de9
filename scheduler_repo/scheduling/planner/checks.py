"""The checks of a planner that somebody else wrote, and of what it returns."""

import asyncio
import inspect
from collections.abc import Sequence

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.errors import InvalidInput, InvalidWiring
from scheduler_repo.quoting import with_article
from scheduler_repo.scheduling.planner.protocol import Planner


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
    if inspect.iscoroutinefunction(plan):
        raise InvalidWiring(
            f"{type(planner).__name__}.plan() is a coroutine function; it must be a plain function that "
            "returns a sequence of SessionAllocation, as it runs in a thread"
        )
    try:
        inspect.signature(plan).bind(None)
    except TypeError as error:
        raise InvalidWiring(f"{type(planner).__name__}.plan() must take the data alone: {error}") from None


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
