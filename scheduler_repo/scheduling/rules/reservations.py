"""What reservations hold on agents: all of it for whoever holds nothing, what is ahead for who holds too.

A reservation that does not name exactly its session's kernels is no placement: it holds, and its session is
placed as any other, which ends it.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Optional

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.obstacles import HoldNotFree
from scheduler_repo.entities.scheduling_data import PendingSession, Reservation, SchedulingData
from scheduler_repo.scheduling.rules.feasibility import (
    agent_obstacle,
    free_slots,
    requests_by_agent,
    total_slots,
)
from scheduler_repo.types import AgentId, SessionId, SlotVector


class Held(NamedTuple):
    """What is held on one agent: slots, and containers."""

    slots: SlotVector
    containers: int


NOTHING_HELD = Held((), 0)


def held_by_agent(reservations: Iterable[Reservation]) -> dict[AgentId, Held]:
    """Add up what reservations hold on each agent."""
    slots: dict[AgentId, list[SlotVector]] = {}
    for reservation in reservations:
        for kernel in reservation.kernels:
            slots.setdefault(kernel.agent_id, []).append(kernel.requested_slots)
    return {agent_id: Held(total_slots(vectors), len(vectors)) for agent_id, vectors in slots.items()}


class StandingReservations:
    """The reservations that stand while a batch is decided."""

    def __init__(self, reservations: Iterable[Reservation]) -> None:
        self._reservations: dict[SessionId, Reservation] = {}
        self._by_agent: dict[AgentId, dict[SessionId, Held]] = {}
        for reservation in reservations:
            self.add(reservation)

    def __contains__(self, session_id: SessionId) -> bool:
        return session_id in self._reservations

    def add(self, reservation: Reservation) -> None:
        """Hold what a reservation says from now on."""
        self._reservations[reservation.session_id] = reservation
        for agent_id, held in held_by_agent((reservation,)).items():
            self._by_agent.setdefault(agent_id, {})[reservation.session_id] = held

    def drop(self, session_id: SessionId) -> None:
        """Hold nothing for a session any more, if anything was."""
        reservation = self._reservations.pop(session_id, None)
        if reservation is not None:
            for agent_id in {kernel.agent_id for kernel in reservation.kernels}:
                del self._by_agent[agent_id][session_id]

    def position_of(self, allocation: SessionAllocation) -> Optional[int]:
        """Return the position of an allocation's reservation, None if it does not go where that is."""
        reservation = self._reservations.get(allocation.session_id)
        if reservation is None:
            return None
        held = {(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels}
        asked = {(kernel.kernel_id, kernel.agent_id) for kernel in allocation.kernels}
        return reservation.position if held == asked else None

    def ahead_of(self, session_id: SessionId, agent_id: AgentId, position: Optional[int]) -> Held:
        """Add up what others hold on an agent: before a position, or all of it for a session without one."""
        if not self._by_agent:
            return NOTHING_HELD
        ahead = [
            held
            for other_id, held in self._by_agent.get(agent_id, {}).items()
            if other_id != session_id and (position is None or self._reservations[other_id].position < position)
        ]
        return Held(total_slots(held.slots for held in ahead), sum(held.containers for held in ahead))


class HeldPlace(msgspec.Struct, frozen=True):
    """Where a pending session's reservation puts it; ``obstacle`` None means that it can go there now."""

    session: PendingSession
    kernels: tuple[KernelAllocation, ...]
    obstacle: Optional[HoldNotFree]


def held_places(data: SchedulingData) -> Mapping[SessionId, HeldPlace]:
    """Say of each pending session with a reservation whether it fits there, by position.

    What earlier reservations hold is not free for later ones, whether their sessions are placed or not: so the
    answer stands while a plan places any of them. Cost: nothing without reservations, else a pass over the
    queue and over them.
    """
    if not data.reservations:
        return {}
    pending = {session.session_id: session for session in data.pending_sessions}
    agents = {agent.agent_id: agent for agent in data.agents}
    earlier: dict[AgentId, Held] = {}

    def first_obstacle(session: PendingSession, reservation: Reservation) -> Optional[HoldNotFree]:
        placed = [(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels]
        for agent_id, request in requests_by_agent(session, placed).items():
            agent = agents.get(agent_id)
            if agent is None:
                return HoldNotFree(agent_id, None)
            held = earlier.get(agent_id, NOTHING_HELD)
            obstacle = agent_obstacle(
                request,
                session.designated_agent_ids,
                agent_id=agent_id,
                architecture=agent.architecture,
                free=free_slots(agent.capacity, total_slots((agent.occupied, held.slots))),
                running=agent.container_count + held.containers,
                max_containers=agent.max_containers,
            )
            if obstacle is not None:
                return HoldNotFree(agent_id, obstacle)
        return None

    places: dict[SessionId, HeldPlace] = {}
    for reservation in data.reservations:
        session = pending.get(reservation.session_id)
        if session is not None and _names_its_kernels(reservation, session):
            places[session.session_id] = HeldPlace(
                session,
                tuple(KernelAllocation(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels),
                first_obstacle(session, reservation),
            )
        for agent_id, held in held_by_agent((reservation,)).items():
            before = earlier.get(agent_id, NOTHING_HELD)
            earlier[agent_id] = Held(
                total_slots((before.slots, held.slots)), before.containers + held.containers
            )
    return places


def _names_its_kernels(reservation: Reservation, session: PendingSession) -> bool:
    held = sorted(kernel.kernel_id for kernel in reservation.kernels)
    return held == sorted(kernel.kernel_id for kernel in session.kernels)
