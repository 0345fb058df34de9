"""The snapshot as a plan leaves it."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter

import msgspec

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import AnyOwnerUsage, PendingSession, SchedulingData
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, loads_by, total_slots
from scheduler_repo.scheduling.rules.reservations import reserved_places
from scheduler_repo.types import OWNER_FIELDS


def with_placed(data: SchedulingData, allocations: Sequence[SessionAllocation]) -> SchedulingData:
    """Return the snapshot as it is once these sessions are placed."""
    agent_of = {kernel.kernel_id: kernel.agent_id for each in allocations for kernel in each.kernels}
    placed_ids = {allocation.session_id for allocation in allocations}
    placed = [session for session in data.pending_sessions if session.session_id in placed_ids]
    reserved = reserved_places(data)
    # Reserved room was not free for other sessions: as much is left as before.
    on_agents = loads_by(
        (agent_of[kernel.kernel_id], kernel.requested_slots)
        for session in placed
        if session.session_id not in reserved
        for kernel in session.kernels
    )
    agents = [
        msgspec.structs.replace(
            agent,
            occupied=total_slots((agent.occupied, load.slots)),
            container_count=agent.container_count + load.count,
        )
        for agent in data.agents
        for load in (on_agents.get(agent.agent_id, NO_LOAD),)
    ]
    return msgspec.structs.replace(
        data,
        pending_sessions=tuple(each for each in data.pending_sessions if each.session_id not in placed_ids),
        agents=tuple(agents),
        **{
            fields.several: _with_sessions(data.owners_of(scope), placed, attrgetter(fields.one))
            for scope, fields in OWNER_FIELDS.items()
        },
    )


def _with_sessions(
    usages: tuple[AnyOwnerUsage, ...],
    placed: Iterable[PendingSession],
    owner_of: Callable[[PendingSession], object],
) -> tuple[AnyOwnerUsage, ...]:
    loads = loads_by(
        (owner_of(session), total_slots(kernel.requested_slots for kernel in session.kernels))
        for session in placed
    )
    return tuple(
        msgspec.structs.replace(
            usage,
            session_count=usage.session_count + load.count,
            occupied=total_slots((usage.occupied, load.slots)),
        )
        for usage in usages
        for load in (loads.get(usage.owner_id, NO_LOAD),)
    )
