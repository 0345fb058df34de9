"""Planners and a dispatcher that a command is given by name."""

import time
from collections.abc import Collection, Sequence
from typing import ClassVar

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import SessionId
from tests.support.waiting import PATIENCE


class Few:
    """Places three sessions a tick, so that many ticks are made."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Plan what fits, and return its beginning."""
        return BestFitPlanner().plan(data)[:3]


def make_few() -> Few:
    """Make a planner, as a function."""
    return Few()


class OnlyOne(Few):
    """A planner of which no second one can be made."""

    made: ClassVar[int] = 0

    def __init__(self) -> None:
        OnlyOne.made += 1
        if OnlyOne.made > 1:
            raise RuntimeError("there is one already")


class Telling:
    """A dispatcher that says on stdout of how many sessions it is told; few lines, as nobody may read them."""

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Say how many there are."""
        print("told of", len(sessions), flush=True)
        return [each.session_id for each in sessions]


class Blocking:
    """A dispatcher that never gives the event loop back."""

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Say so, and block."""
        print("blocks", flush=True)
        while True:
            time.sleep(PATIENCE)  # noqa: ASYNC251 - as a careless one does
