"""Places single sessions: what sessions that ask alike share, and the agents that it finds for them."""

from collections.abc import Iterable
from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulableAgent
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.free_capacity import State
from scheduler_repo.scheduling.rules.feasibility import NodeRequest, node_requests, total_slots
from scheduler_repo.types import AgentId, SlotVector

# What makes two sessions ask alike: one kernel's slots and architecture, or the mode and those of every kernel.
_Key = tuple[object, ...]


class PlacementAttempt(msgspec.Struct, frozen=True):
    """The result of placing one session: an agent per request, or None if one found no agent.

    ``states`` are the agents that were found, and their states before, in the order in which they were taken.
    """

    agent_ids: Optional[list[AgentId]]
    states: list[tuple[AgentId, State]]


class SessionRequest(msgspec.Struct, gc=False, eq=False):
    """The request that equal sessions share: one to each agent, their slots in all, and designated agents.

    ``failed`` is the attempt to place it that failed in this plan, if one did.
    """

    key: _Key
    requests: tuple[NodeRequest, ...]
    slots: SlotVector
    designated_agent_ids: tuple[AgentId, ...]
    failed: Optional[PlacementAttempt] = None


class SessionPlacer:
    """Places sessions one after the other and takes their capacity.

    The requests of a MULTI_NODE session are placed largest first, each at its best fit, without backtracking.
    That finds a placement whenever one exists if the requests are alike; if they differ it may miss one. Within
    one plan capacity only shrinks, so a request that failed once is not tried again. ``known`` are the requests
    that were asked for and are not forgotten.
    """

    def __init__(self, index: CapacityIndex) -> None:
        self._index = index
        self.known: dict[_Key, SessionRequest] = {}

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
        known = self.known.get(key)
        if known is None:
            requests = node_requests(session.cluster_mode, kernels)
            slots = total_slots(kernel.requested_slots for kernel in kernels)
            known = self.known[key] = SessionRequest(key, requests, slots, designated)
        return known

    def forget(self, request: SessionRequest) -> None:
        """Drop a request that no session waits with."""
        del self.known[request.key]
        for each in request.requests:
            self._index.forget_request(each)

    def place(self, wanted: SessionRequest, *, among_gainers: bool = False) -> PlacementAttempt:
        """Place every request, or none: if one finds no agent, the index is as before.

        ``among_gainers`` says that a single request is known to find no other agent.
        """
        if wanted.failed is not None:
            return wanted.failed
        requests, version = wanted.requests, self._index.version
        sizes = [self._index.scarcest_amounts(request) for request in requests]
        agent_ids = [AgentId("")] * len(requests)
        states: list[tuple[AgentId, State]] = []
        for each in sorted(range(len(requests)), key=sizes.__getitem__, reverse=True):
            spot = self._index.find(
                requests[each], wanted.designated_agent_ids, among_gainers=among_gainers and len(requests) == 1
            )
            if spot is None:
                self.take_back(states)
                self._index.version = version
                wanted.failed = PlacementAttempt(None, states)
                return wanted.failed
            agent_ids[each] = spot.agent_id
            states.append((spot.agent_id, self._index.take(spot)))
        return PlacementAttempt(agent_ids, states)

    def take_back(self, states: list[tuple[AgentId, State]]) -> None:
        """Undo the last placement, by its ``states``."""
        for agent_id, state in reversed(states):
            self._index.restore(agent_id, state)

    def place_session(
        self,
        session: PendingSession,
        wanted: SessionRequest,
        agents: Iterable[SchedulableAgent],
        *,
        among_gainers: bool = False,
    ) -> Optional[tuple[KernelAllocation, ...]]:
        """Place a session, elsewhere than it failed before if there is room; None if it finds no place.

        ``agents`` are all of the snapshot's.
        """
        placement = self.place(wanted, among_gainers=among_gainers)
        if placement.agent_ids is None:
            return None
        failed = session.failed_agent_ids
        if not failed or not any(agent_id in failed for agent_id in placement.agent_ids):
            return allocations(session, placement.agent_ids)
        # Avoid the agents on which it failed if other agents have room, else try them again.
        self.take_back(placement.states)
        agent_ids = session.designated_agent_ids or [agent.agent_id for agent in agents]
        others = tuple(agent_id for agent_id in agent_ids if agent_id not in failed)
        elsewhere = self.place(self.request(session, others)) if others else None
        if elsewhere is not None and elsewhere.agent_ids is not None:
            return allocations(session, elsewhere.agent_ids)
        self.place(wanted)
        return allocations(session, placement.agent_ids)


def allocations(session: PendingSession, agent_ids: list[AgentId]) -> tuple[KernelAllocation, ...]:
    """Return the agent of each kernel; one request for all kernels puts them on one agent."""
    if len(agent_ids) == 1:
        agent_ids = agent_ids * len(session.kernels)
    placed = zip(session.kernels, agent_ids, strict=True)
    return tuple(KernelAllocation(kernel.kernel_id, agent_id) for kernel, agent_id in placed)
