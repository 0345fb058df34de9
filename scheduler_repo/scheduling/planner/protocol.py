"""The protocols of planners: placements from data, or from what has changed since the last plan."""

import enum
from collections.abc import Sequence
from typing import Optional, Protocol, runtime_checkable

import msgspec

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.types import ScalingGroupName


class Planner(Protocol):
    """Turns the data of one tick into placements; the write gate checks them again."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Return the sessions to place, in the order to write them, each with an agent for every kernel."""
        ...


class FullPlanReason(enum.StrEnum):
    """Why a plan was made from everything, and not from what has changed."""

    FIRST = "first"  # nothing was remembered of the group, as after a plan from a full read or of very much
    FULL_READ = "full_read"  # what has changed is not known
    TOO_MANY = "too_many"  # so much has changed that this costs less
    MISSED = "missed"  # the changes are those since another answer than that of the last plan
    LIMITS = "limits"  # an owner without limits has one now
    OVERRIDDEN = "overridden"  # a subclass plans in its own way
    MISFIT = "misfit"  # the changes did not fit what was remembered


class IncrementalPlan(msgspec.Struct, frozen=True):
    """A plan, and how it was made: ``reason`` is set where it was made from everything.

    ``tried_sessions`` are as many as the plan looked at, ``is_reindexed`` says that another slot has become the
    scarcest, so that the capacity was indexed again.
    """

    allocations: Sequence[SessionAllocation]
    reason: Optional[FullPlanReason] = None
    tried_sessions: int = 0
    is_reindexed: bool = False


@runtime_checkable
class IncrementalPlanner(Planner, Protocol):
    """A planner that remembers its last plan of each group, and takes what has changed since.

    The law: ``plan_changes`` places what ``plan`` of the same data places, session by session. ``plan`` may be
    called beside it in another thread, to compare the two, and changes nothing of what is remembered.
    """

    def plan_changes(self, refresh: Refresh) -> IncrementalPlan:
        """Plan on the data of a refresh, from everything if its changes are not since the last plan."""
        ...

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        """Drop what is remembered of a group, or of all; the next plan is made from everything."""
        ...
