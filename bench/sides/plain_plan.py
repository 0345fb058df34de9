"""The plain way to plan: every session by all rules in their order, whatever failed before it in the plan."""

from collections.abc import Iterator

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.scheduling.planner.best_fit import in_turn
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.free_capacity import State
from scheduler_repo.scheduling.rules.feasibility import (
    node_requests,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import reserved_places
from scheduler_repo.types import AgentId


def plan_plainly(data: SchedulingData) -> Iterator[SessionAllocation]:
    """Plan as BestFitPlanner does, with the same decisions; agents are found in the same index."""
    ledger, index, places = OwnerLedger(data), CapacityIndex(data), reserved_places(data)
    for session in in_turn(data, places) if data.scaling_group.is_active else ():
        slots = total_slots(kernel.requested_slots for kernel in session.kernels)
        if (
            not session.kernels
            or start_not_reached(session.requested_start_at, data.observed_at)
            or unmet_dependency(session.dependencies)
            or ledger.breach(session, slots)
        ):
            continue
        place = places.get(session.session_id)
        kernels = _place_kernels(index, session) if place is None else place.kernels
        if kernels and not (place and place.obstacle):
            ledger.charge(session, slots)
            yield SessionAllocation(session.session_id, kernels)


def _place_kernels(index: CapacityIndex, session: PendingSession) -> tuple[KernelAllocation, ...]:
    """Take an agent for each request, the largest first; none at all if one finds no agent."""
    requests = node_requests(session.cluster_mode, session.kernels)
    order = sorted(range(len(requests)), key=lambda i: index.scarcest_amounts(requests[i]), reverse=True)
    agent_ids: dict[int, AgentId] = {}
    taken: list[tuple[AgentId, State]] = []
    for position in order:
        spot = index.find(requests[position], session.designated_agent_ids)
        if spot is None:
            for agent_id, state in reversed(taken):
                index.restore(agent_id, state)
            return ()
        agent_ids[position] = spot.agent_id
        taken.append((spot.agent_id, index.take(spot)))
    return tuple(
        KernelAllocation(kernel.kernel_id, agent_ids[position if len(requests) > 1 else 0])
        for position, kernel in enumerate(session.kernels)
    )
