"""The best-fit planner: decides which pending sessions of one snapshot to place, and where."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from threading import Lock
from typing import Final, Optional

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh, SnapshotChanges
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.memory import PlanMemory
from scheduler_repo.scheduling.planner.placer import SessionPlacer
from scheduler_repo.scheduling.planner.protocol import FullPlanReason, IncrementalPlan
from scheduler_repo.scheduling.planner.waiting_sessions import LimitsBegan
from scheduler_repo.scheduling.rules.feasibility import start_not_reached, unmet_dependency
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import ReservedPlace, reserved_places
from scheduler_repo.types import ScalingGroupName, SessionId

# What is remembered at most: some 900 MB.
_MAX_GROUPS: Final = 16
_MAX_SESSIONS: Final = 1_000_000

# Fewer changes than that take a millisecond or two, whatever else there is.
_FEWEST_MANY: Final = 100

_logger = get_logger(__name__)


class BestFitPlanner:
    """Places sessions in queue order, each where it fits most tightly and strands the least.

    A session that cannot be placed is skipped and blocks no session behind it. Each placement counts at once
    against capacity, container limits and the quotas of its owners. A plan ends after ``max_allocations``
    sessions; raises InvalidInput if that is negative.

    Sessions with a reservation come before the queue, in the order of their reservations: each is placed on its
    reserved agents as soon as they have room, and nowhere else. Reserved room is not given to other sessions
    within the plan, even where placing a session ends a reservation that did not name all of its kernels.

    A MULTI_NODE session whose kernels differ may be skipped although a placement exists: its kernels are placed
    one by one, largest first, without backtracking.

    ``plan_changes`` remembers why each session of a group waits, of at most 16 groups and a million sessions.
    """

    def __init__(self, max_allocations: Optional[int] = None) -> None:
        if max_allocations is not None and max_allocations < 0:
            raise InvalidInput(f"max_allocations: {max_allocations} is negative; give 0 or more, or None")
        self._max_allocations = max_allocations
        # The group planned for last stands at the end; loops plan in threads.
        self._memories: OrderedDict[ScalingGroupName, PlanMemory] = OrderedDict()
        self._memories_lock = Lock()

    def plan(self, data: SchedulingData) -> tuple[SessionAllocation, ...]:
        """Place every session that fits, all of its kernels or none.

        Cost: tens of microseconds per placed session, one per session whose request has failed before.
        """
        if not data.scaling_group.is_active or self._max_allocations == 0:
            return ()
        ledger = OwnerLedger(data)
        places = reserved_places(data)
        placer = SessionPlacer(CapacityIndex(data))
        allocations: list[SessionAllocation] = []
        for session in in_turn(data, places):
            place = places.get(session.session_id) if places else None
            wanted = placer.request(session)
            # Most of a long queue asks for what failed before, so that comes first. Nothing has failed yet when
            # it is a reserved session's turn.
            if (
                wanted.failed is not None
                or not session.kernels
                or start_not_reached(session.requested_start_at, data.observed_at)
                or unmet_dependency(session.dependencies)
                or ledger.breach(session, wanted.slots) is not None
            ):
                continue
            if place is None:
                kernels = placer.place_session(session, wanted, data.agents)
            else:
                # The index never counted reserved room as free, so there is nothing to take from it.
                kernels = place.kernels if place.obstacle is None else None
            if kernels is None:
                continue
            ledger.charge(session, wanted.slots)
            allocations.append(SessionAllocation(session.session_id, kernels))
            if len(allocations) == self._max_allocations:
                break
        return tuple(allocations)

    def plan_changes(self, refresh: Refresh) -> IncrementalPlan:
        """Place what ``plan`` of the same data places, and try only sessions that may have become placeable.

        It does not matter whether the last plan was written, in all, in part or not. It is made from everything
        where the changes are not those since the last plan of the group, and as ``plan`` makes it where
        everything was read or very much has changed: then nothing is remembered of the group. Cost: as many
        steps as there are changes and placements, and one for each distinct request where an agent gained room.
        """
        data = refresh.data
        if type(self).plan is not BestFitPlanner.plan:
            return IncrementalPlan(self.plan(data), FullPlanReason.OVERRIDDEN)
        group = data.scaling_group.name
        with self._memories_lock:
            # Out of reach of another thread until it is whole again; lost where the plan fails.
            memory = self._memories.pop(group, None)
        if refresh.changes is None or _are_many(refresh.changes, data):
            # A memory begins with a tick of few changes: as long as each has many, it is never of use.
            why = FullPlanReason.FULL_READ if refresh.changes is None else FullPlanReason.TOO_MANY
            return IncrementalPlan(self.plan(data), why, len(data.pending_sessions))
        memory, reason, is_reindexed = _follow(memory, refresh, refresh.changes)
        tried = memory.tried
        allocations = memory.plan(data, self._max_allocations)
        self._remember(group, memory)
        return IncrementalPlan(allocations, reason, memory.tried - tried, is_reindexed)

    def forget(self, scaling_group: Optional[ScalingGroupName] = None) -> None:
        """Drop what is remembered of a group, or of all; the next plan is made from everything."""
        with self._memories_lock:
            for group in list(self._memories):
                if scaling_group in (None, group):
                    del self._memories[group]

    def _remember(self, group: ScalingGroupName, memory: PlanMemory) -> None:
        with self._memories_lock:
            self._memories[group] = memory
            self._memories.move_to_end(group)
            sessions = sum(map(len, self._memories.values()))
            while len(self._memories) > 1 and (len(self._memories) > _MAX_GROUPS or sessions > _MAX_SESSIONS):
                sessions -= len(self._memories.popitem(last=False)[1])


def _are_many(changes: SnapshotChanges, data: SchedulingData) -> bool:
    """Whether to follow changes takes longer than a plan from everything.

    Measured: some 15 µs for each change, 3 µs for each pending session of a full plan, 10 µs for each agent.
    """
    count = len(changes.sessions) + len(changes.agents) + len(changes.owners)
    return count > max(_FEWEST_MANY, len(data.pending_sessions) // 5 + len(data.agents) // 2)


def _follow(
    memory: Optional[PlanMemory], refresh: Refresh, changes: SnapshotChanges
) -> tuple[PlanMemory, Optional[FullPlanReason], bool]:
    """Bring a memory up to date, or begin a new one for a reason; and say whether its index was made anew."""
    data = refresh.data
    if memory is None:
        return PlanMemory(data), FullPlanReason.FIRST, False
    if refresh.since != memory.token or data.pending_limit != memory.pending_limit:
        return PlanMemory(data), FullPlanReason.MISSED, False
    try:
        return memory, None, memory.follow(data, changes)
    except LimitsBegan:
        return PlanMemory(data), FullPlanReason.LIMITS, False
    except (LookupError, InvalidInput) as error:
        _logger.error(
            "what has changed in scaling group %s does not fit what the planner remembers, which plans from "
            "everything: %s: %s",
            quoted(data.scaling_group.name),
            type(error).__name__,
            shortened(error),
        )
        return PlanMemory(data), FullPlanReason.MISFIT, False


def in_turn(data: SchedulingData, places: Mapping[SessionId, ReservedPlace]) -> Iterator[PendingSession]:
    """Yield pending sessions in the order of a plan: reserved ones by position, then the queue."""
    for place in places.values():
        yield place.session
    for session in data.pending_sessions:
        if not places or session.session_id not in places:
            yield session
