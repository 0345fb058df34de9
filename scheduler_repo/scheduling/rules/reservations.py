"""The room that reservations claim: all of it from sessions without one, earlier ones from those with one.

A reservation that does not name exactly its session's kernels, or names an agent that takes none, or not these
even when it is empty, is no placement: it still claims its room, and its session is placed as any other, which
ends it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Optional

import msgspec
from msgspec.structs import replace

from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.obstacles import HoldNotFree
from scheduler_repo.entities.scheduling_data import (
    PendingSession,
    Reservation,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.scheduling.rules.feasibility import (
    NO_LOAD,
    Load,
    agent_obstacle,
    loads_by,
    requests_by_agent,
)
from scheduler_repo.steps import Steps
from scheduler_repo.types import AgentId, SessionId


def reserved_by_agent(reservations: Iterable[Reservation]) -> dict[AgentId, Load]:
    """Add up what is reserved on each agent."""
    return loads_by((each.agent_id, each.requested_slots) for one in reservations for each in one.kernels)


class StandingReservations:
    """The reservations that stand while a batch is decided."""

    def __init__(self) -> None:
        self._reservations: dict[SessionId, Reservation] = {}
        self._by_agent: dict[AgentId, dict[SessionId, Load]] = {}
        # Of each agent, all of them together.
        self._totals: dict[AgentId, Load] = {}

    @classmethod
    def of(cls, reservations: Iterable[Reservation]) -> "Steps[StandingReservations]":
        """Begin with what is reserved already."""
        standing = cls()
        for reservation in reservations:
            standing.add(reservation)
            yield
        return standing

    def __contains__(self, session_id: SessionId) -> bool:
        return session_id in self._reservations

    def add(self, reservation: Reservation) -> None:
        """Reserve from now on."""
        self._reservations[reservation.session_id] = reservation
        for agent_id, reserved in reserved_by_agent((reservation,)).items():
            self._by_agent.setdefault(agent_id, {})[reservation.session_id] = reserved
            self._totals[agent_id] = self._totals.get(agent_id, NO_LOAD).plus(reserved)

    def drop(self, session_id: SessionId) -> None:
        """End the reservation of a session, if it has one."""
        reservation = self._reservations.pop(session_id, None)
        if reservation is not None:
            for agent_id in {kernel.agent_id for kernel in reservation.kernels}:
                given_up = self._by_agent[agent_id].pop(session_id)
                self._totals[agent_id] = self._totals[agent_id].minus(given_up)

    def position_of(self, allocation: SessionAllocation) -> Optional[int]:
        """Return the position of an allocation's reservation, None if it does not go where that is."""
        reservation = self._reservations.get(allocation.session_id)
        if reservation is None:
            return None
        reserved = {(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels}
        asked = {(kernel.kernel_id, kernel.agent_id) for kernel in allocation.kernels}
        return reservation.position if reserved == asked else None

    def ahead_of(self, session_id: SessionId, agent_id: AgentId, position: Optional[int]) -> Load:
        """Add up what others reserved on an agent: before a position, or all for a session without one."""
        on_agent = self._by_agent.get(agent_id, {})
        if position is None:
            return self._totals.get(agent_id, NO_LOAD).minus(on_agent.get(session_id, NO_LOAD))
        ahead = NO_LOAD
        for other_id, reserved in on_agent.items():
            if other_id != session_id and self._reservations[other_id].position < position:
                ahead = ahead.plus(reserved)
        return ahead


class ReservedPlace(msgspec.Struct, frozen=True):
    """Where a pending session's reservation puts it; ``obstacle`` None means that it can go there now."""

    session: PendingSession
    kernels: tuple[KernelAllocation, ...]
    obstacle: Optional[HoldNotFree]


def reserved_places(data: SchedulingData) -> Mapping[SessionId, ReservedPlace]:
    """Say of each pending session with a reservation whether it fits there, by position.

    Cost: nothing without reservations, else a pass over the queue and over them.
    """
    if not data.reservations:
        return {}
    pending = {session.session_id: session for session in data.pending_sessions}
    agents = {agent.agent_id: agent for agent in data.agents}
    return find_places(data.reservations, pending.get, agents)


def find_places(
    reservations: Iterable[Reservation],
    find_session: Callable[[SessionId], Optional[PendingSession]],
    agents: Mapping[AgentId, SchedulableAgent],
) -> Mapping[SessionId, ReservedPlace]:
    """Say of each reservation's session, if it is pending, whether it fits there, by position.

    What is reserved earlier is not free for later ones, whether its sessions are placed or not: so the answer
    stands while a plan places any of them. Cost: a pass over the reservations.
    """
    earlier: dict[AgentId, Load] = {}
    places: dict[SessionId, ReservedPlace] = {}
    for reservation in reservations:
        session = find_session(reservation.session_id)
        kernels = tuple(KernelAllocation(kernel.kernel_id, kernel.agent_id) for kernel in reservation.kernels)
        is_placement = all(kernel.agent_id in agents for kernel in kernels)
        if session is not None and is_placement and _names_all(kernels, session):
            obstacle = _first_obstacle(session, kernels, agents, earlier)
            if obstacle is None or _have_size(session, kernels, agents):
                places[session.session_id] = ReservedPlace(session, kernels, obstacle)
        for agent_id, reserved in reserved_by_agent((reservation,)).items():
            earlier[agent_id] = earlier.get(agent_id, NO_LOAD).plus(reserved)
    return places


def _names_all(kernels: Iterable[KernelAllocation], session: PendingSession) -> bool:
    named = sorted(kernel.kernel_id for kernel in kernels)
    return named == sorted(kernel.kernel_id for kernel in session.kernels)


def _have_size(
    session: PendingSession, kernels: Iterable[KernelAllocation], agents: Mapping[AgentId, SchedulableAgent]
) -> bool:
    """Whether the agents could take the kernels if they were empty: one may have shrunk since."""
    return not any(
        agent_obstacle(
            request,
            session.designated_agent_ids,
            replace(agents[agent_id], occupied=(), container_count=0, reserved=(), reserved_containers=0),
            NO_LOAD,
        )
        for agent_id, request in requests_by_agent(session, kernels).items()
    )


def _first_obstacle(
    session: PendingSession,
    kernels: Iterable[KernelAllocation],
    agents: Mapping[AgentId, SchedulableAgent],
    earlier: Mapping[AgentId, Load],
) -> Optional[HoldNotFree]:
    for agent_id, request in requests_by_agent(session, kernels).items():
        beside = earlier.get(agent_id, NO_LOAD)
        obstacle = agent_obstacle(request, session.designated_agent_ids, agents[agent_id], beside)
        if obstacle is not None:
            return HoldNotFree(agent_id, obstacle)
    return None
