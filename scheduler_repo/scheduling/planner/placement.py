"""Places all kernels of a session on a capacity index, or none, and remembers the requests that failed."""

from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.scheduling_data import PendingSession
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.free_capacity_set import State
from scheduler_repo.scheduling.rules.feasibility import NodeRequest
from scheduler_repo.types import AgentId

Question = tuple[tuple[NodeRequest, ...], tuple[AgentId, ...]]


class Placement(msgspec.Struct, frozen=True):
    """The result of placing one session: an agent's position per request, or None if one found no agent.

    ``states`` are the agents that were found, and their states before, in the order in which they were taken.
    """

    positions: Optional[list[int]]
    states: list[tuple[int, State]]


class SessionPlacer:
    """Places sessions one after the other and takes their capacity.

    The requests of a MULTI_NODE session are placed largest first, each at its best fit, without backtracking.
    That finds a placement whenever one exists if the requests are alike; if they differ it may miss one. Within
    one plan capacity only shrinks, so a request that failed once is not tried again.
    """

    def __init__(self, index: CapacityIndex) -> None:
        self._index = index
        self._failed: dict[Question, Placement] = {}

    def place(self, requests: tuple[NodeRequest, ...], designated: tuple[AgentId, ...]) -> Placement:
        """Place every request, or none: if one finds no agent, the index is as before."""
        question = requests, designated
        failed = self._failed.get(question)
        if failed is not None:
            return failed
        sizes = [self._index.scarcest_amounts(request) for request in requests]
        positions = [0] * len(requests)
        states: list[tuple[int, State]] = []
        for each in sorted(range(len(requests)), key=sizes.__getitem__, reverse=True):
            spot = self._index.find(requests[each], designated)
            if spot is None:
                self.take_back(states)
                failed = self._failed[question] = Placement(None, states)
                return failed
            positions[each] = spot.position
            states.append((spot.position, self._index.take(spot)))
        return Placement(positions, states)

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
