"""Decides, for one snapshot, which pending sessions are placed and where."""

from collections.abc import Sequence
from typing import Optional, Protocol

from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.allocation import SessionAllocation
from scheduler_repo.scheduling.capacity_index import CapacityIndex
from scheduler_repo.scheduling.data import PendingSession, SchedulingData
from scheduler_repo.scheduling.feasibility import (
    node_requests,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.owner_ledger import OwnerLedger
from scheduler_repo.scheduling.placement import SessionPlacer


class Planner(Protocol):
    """Turns what one tick knows into placements; the write gate checks them again."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Return the sessions to place, in queue order, each with an agent for every kernel."""
        ...


class BestFitPlanner:
    """Places sessions in queue order, each where it fits most tightly and strands the least.

    A session that cannot be placed is passed over and blocks none behind it. What a plan places counts at once
    against capacity, container limits and the quotas of its owners. With ``max_allocations`` a plan ends after
    so many sessions. Raises InvalidInput if that is negative.

    A MULTI_NODE session whose kernels differ may be passed over although some placement exists: its kernels
    are placed one by one, largest first, without going back on a choice.
    """

    def __init__(self, max_allocations: Optional[int] = None) -> None:
        if max_allocations is not None and max_allocations < 0:
            raise InvalidInput(f"max_allocations: {max_allocations} is negative; give 0 or more, or None")
        self._max_allocations = max_allocations

    def plan(self, data: SchedulingData) -> tuple[SessionAllocation, ...]:
        """Place what can be placed, all kernels of a session or none.

        Cost: some tens of microseconds per placed session, a few per session that asks for what has failed.
        """
        if not data.scaling_group.is_active or self._max_allocations == 0:
            return ()
        ledger = OwnerLedger(data)
        placer = SessionPlacer(CapacityIndex(data))
        allocations: list[SessionAllocation] = []
        for session in data.pending_sessions:
            if not _may_start(session, data):
                continue
            requested = total_slots(kernel.requested_slots for kernel in session.kernels)
            if ledger.breach(session, requested) is not None:
                continue
            requests = node_requests(session.cluster_mode, session.kernels)
            placement = placer.place(requests, session.designated_agent_ids)
            if placement.positions is None:
                continue
            ledger.charge(session, requested)
            kernels = placer.allocations(session, placement.positions)
            allocations.append(SessionAllocation(session.session_id, kernels))
            if len(allocations) == self._max_allocations:
                break
        return tuple(allocations)


def _may_start(session: PendingSession, data: SchedulingData) -> bool:
    return (
        bool(session.kernels)
        and start_not_reached(session.requested_start_at, data.observed_at) is None
        and unmet_dependency(session.dependencies) is None
    )
