"""The best-fit planner: decides which pending sessions of one snapshot to place, and where."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Optional, Protocol

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex, State
from scheduler_repo.scheduling.rules.feasibility import (
    NodeRequest,
    node_requests,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import ReservedPlace, reserved_places
from scheduler_repo.types import AgentId, SessionId, SlotVector

# What makes two sessions ask alike: one kernel's slots and architecture, or the mode and those of every kernel.
_Key = tuple[object, ...]


class PlacementAttempt(msgspec.Struct, frozen=True):
    """The result of placing one session: an agent's position per request, or None if one found no agent.

    ``states`` are the agents that were found, and their states before, in the order in which they were taken.
    """

    positions: Optional[list[int]]
    states: list[tuple[int, State]]


class SessionRequest(msgspec.Struct, gc=False, eq=False):
    """The request that equal sessions share: one to each agent, their slots in all, and designated agents.

    ``failed`` is the attempt to place it that failed in this plan, if one did.
    """

    requests: tuple[NodeRequest, ...]
    slots: SlotVector
    designated_agent_ids: tuple[AgentId, ...]
    failed: Optional[PlacementAttempt] = None


class SessionPlacer:
    """Places sessions one after the other and takes their capacity.

    The requests of a MULTI_NODE session are placed largest first, each at its best fit, without backtracking.
    That finds a placement whenever one exists if the requests are alike; if they differ it may miss one. Within
    one plan capacity only shrinks, so a request that failed once is not tried again.
    """

    def __init__(self, index: CapacityIndex) -> None:
        self._index = index
        self._known: dict[_Key, SessionRequest] = {}

    def request(
        self, session: PendingSession, designated_agent_ids: Optional[tuple[AgentId, ...]] = None
    ) -> SessionRequest:
        """Return what a session asks for, the same object as for every session that asks alike.

        ``designated_agent_ids`` stand in for the session's own.
        """
        kernels = session.kernels
        designated = session.designated_agent_ids if designated_agent_ids is None else designated_agent_ids
        key: _Key
        if len(kernels) == 1:
            key = kernels[0].requested_slots, kernels[0].architecture, designated
        else:
            asked = tuple([(kernel.requested_slots, kernel.architecture) for kernel in kernels])
            key = session.cluster_mode, asked, designated, None
        known = self._known.get(key)
        if known is None:
            requests = node_requests(session.cluster_mode, kernels)
            slots = total_slots(kernel.requested_slots for kernel in kernels)
            known = self._known[key] = SessionRequest(requests, slots, designated)
        return known

    def place(self, wanted: SessionRequest) -> PlacementAttempt:
        """Place every request, or none: if one finds no agent, the index is as before."""
        if wanted.failed is not None:
            return wanted.failed
        requests = wanted.requests
        sizes = [self._index.scarcest_amounts(request) for request in requests]
        positions = [0] * len(requests)
        states: list[tuple[int, State]] = []
        for each in sorted(range(len(requests)), key=sizes.__getitem__, reverse=True):
            spot = self._index.find(requests[each], wanted.designated_agent_ids)
            if spot is None:
                self.take_back(states)
                wanted.failed = PlacementAttempt(None, states)
                return wanted.failed
            positions[each] = spot.position
            states.append((spot.position, self._index.take(spot)))
        return PlacementAttempt(positions, states)

    def take_back(self, states: list[tuple[int, State]]) -> None:
        """Undo the last placement, by its ``states``."""
        for position, state in reversed(states):
            self._index.restore(position, state)

    def allocations(self, session: PendingSession, positions: list[int]) -> tuple[KernelAllocation, ...]:
        """Return the agent of each kernel; one request for all kernels puts them on one agent."""
        agent_ids = [self._index.agent_id(position) for position in positions]
        if len(agent_ids) == 1:
            agent_ids *= len(session.kernels)
        placed = zip(session.kernels, agent_ids, strict=True)
        return tuple(KernelAllocation(kernel.kernel_id, agent_id) for kernel, agent_id in placed)


class Planner(Protocol):
    """Turns the data of one tick into placements; the write gate checks them again."""

    def plan(self, data: SchedulingData) -> Sequence[SessionAllocation]:
        """Return the sessions to place, in the order to write them, each with an agent for every kernel."""
        ...


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
    """

    def __init__(self, max_allocations: Optional[int] = None) -> None:
        if max_allocations is not None and max_allocations < 0:
            raise InvalidInput(f"max_allocations: {max_allocations} is negative; give 0 or more, or None")
        self._max_allocations = max_allocations

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
                kernels = _place(session, wanted, data, placer)
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


def in_turn(data: SchedulingData, places: Mapping[SessionId, ReservedPlace]) -> Iterator[PendingSession]:
    """Yield pending sessions in the order of a plan: reserved ones by position, then the queue."""
    for place in places.values():
        yield place.session
    for session in data.pending_sessions:
        if not places or session.session_id not in places:
            yield session


def _place(
    session: PendingSession, wanted: SessionRequest, data: SchedulingData, placer: SessionPlacer
) -> Optional[tuple[KernelAllocation, ...]]:
    placement = placer.place(wanted)
    if placement.positions is None:
        return None
    kernels = placer.allocations(session, placement.positions)
    failed = session.failed_agent_ids
    if not failed or not any(kernel.agent_id in failed for kernel in kernels):
        return kernels
    # Avoid the agents on which it failed if other agents have room, else try them again.
    placer.take_back(placement.states)
    agent_ids = session.designated_agent_ids or tuple(agent.agent_id for agent in data.agents)
    others = tuple(agent_id for agent_id in agent_ids if agent_id not in failed)
    elsewhere = placer.place(placer.request(session, others)) if others else None
    if elsewhere is not None and elsewhere.positions is not None:
        return placer.allocations(session, elsewhere.positions)
    placer.place(wanted)
    return kernels
