"""Decides, for one snapshot, which pending sessions are placed and where."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional, Protocol

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.placement import SessionPlacer
from scheduler_repo.scheduling.rules.feasibility import (
    node_requests,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import HeldPlace, held_places
from scheduler_repo.types import SessionId


class Planner(Protocol):
    """Turns what one tick knows into placements; the write gate checks them again."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Return the sessions to place, the first to be written first, each with an agent for every kernel."""
        ...


class BestFitPlanner:
    """Places sessions in queue order, each where it fits most tightly and strands the least.

    A session that cannot be placed is passed over and blocks none behind it. What a plan places counts at once
    against capacity, container limits and the quotas of its owners. With ``max_allocations`` a plan ends after
    so many sessions. Raises InvalidInput if that is negative.

    Sessions with a reservation come before the queue, first reserved, first placed: on the agents that are held
    for them, as soon as these have it free, and on no others. What is held is free for nobody else within the
    plan, even where placing a session ends a reservation that did not name all of its kernels.

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
        places = held_places(data)
        placer = SessionPlacer(CapacityIndex(data))
        allocations: list[SessionAllocation] = []
        for session in in_turn(data, places):
            if not _may_start(session, data):
                continue
            requested = total_slots(kernel.requested_slots for kernel in session.kernels)
            if ledger.breach(session, requested) is not None:
                continue
            place = places.get(session.session_id) if places else None
            kernels = _placed(session, data, placer) if place is None else _held(place)
            if kernels is None:
                continue
            ledger.charge(session, requested)
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


def in_turn(data: SchedulingData, places: Mapping[SessionId, HeldPlace]) -> Iterator[PendingSession]:
    """Go through the pending sessions as a plan does: those with a hold by its position, then the queue."""
    for place in places.values():
        yield place.session
    for session in data.pending_sessions:
        if not places or session.session_id not in places:
            yield session


def _placed(
    session: PendingSession, data: SchedulingData, placer: SessionPlacer
) -> Optional[tuple[KernelAllocation, ...]]:
    requests = node_requests(session.cluster_mode, session.kernels)
    placement = placer.place(requests, session.designated_agent_ids)
    if placement.positions is None:
        return None
    kernels = placer.allocations(session, placement.positions)
    failed = session.failed_agent_ids
    if not failed or not any(kernel.agent_id in failed for kernel in kernels):
        return kernels
    # Elsewhere if that is possible, else where it failed once more.
    placer.take_back(placement)
    agent_ids = session.designated_agent_ids or tuple(agent.agent_id for agent in data.agents)
    others = tuple(agent_id for agent_id in agent_ids if agent_id not in failed)
    elsewhere = placer.place(requests, others) if others else None
    if elsewhere is not None and elsewhere.positions is not None:
        return placer.allocations(session, elsewhere.positions)
    placer.place(requests, session.designated_agent_ids)
    return kernels


def _held(place: HeldPlace) -> Optional[tuple[KernelAllocation, ...]]:
    # What it takes was not free for anybody else, so the others find as much as before.
    return place.kernels if place.obstacle is None else None
