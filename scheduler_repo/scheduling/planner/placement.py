"""Places all kernels of a session on a capacity index, or none, and remembers the requests that failed."""

from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.scheduling_data import PendingSession
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.free_capacity_set import State
from scheduler_repo.scheduling.rules.feasibility import NodeRequest
from scheduler_repo.types import AgentId

_Question = tuple[tuple[NodeRequest, ...], tuple[AgentId, ...]]


class Placement(msgspec.Struct, frozen=True):
    """The result of placing one session: an agent's position per request, or None and how many found one.

    ``states`` are the agents' states before, in the order in which they were taken.
    """

    positions: Optional[tuple[int, ...]]
    placed_count: int
    states: tuple[tuple[int, State], ...]


class SessionPlacer:
    """Places sessions one after the other and takes their capacity.

    The requests of a MULTI_NODE session are placed largest first, each at its best fit, without backtracking.
    That finds a placement whenever one exists if the requests are alike; if they differ it may miss one. Within
    one plan capacity only shrinks, so a request that failed once is not tried again.
    """

    def __init__(self, index: CapacityIndex) -> None:
        self._index = index
        self._failed: dict[_Question, Placement] = {}

    def place(self, requests: tuple[NodeRequest, ...], designated: tuple[AgentId, ...]) -> Placement:
        """Place every request, or none: if one finds no agent, the index is as before."""
        question = requests, designated
        failed = self._failed.get(question)
        if failed is not None:
            return failed
        order = sorted(
            range(len(requests)), key=lambda each: self._index.scarcest_amounts(requests[each]), reverse=True
        )
        positions: dict[int, int] = {}
        states: list[tuple[int, State]] = []
        for each in order:
            spot = self._index.find(requests[each], designated)
            if spot is None:
                self._restore(states)
                failed = self._failed[question] = Placement(None, len(states), ())
                return failed
            positions[each] = spot.position
            states.append((spot.position, self._index.take(spot)))
        return Placement(tuple(positions[each] for each in range(len(requests))), len(states), tuple(states))

    def take_back(self, placement: Placement) -> None:
        """Undo the last placement that succeeded."""
        self._restore(list(placement.states))

    def allocations(self, session: PendingSession, positions: tuple[int, ...]) -> tuple[KernelAllocation, ...]:
        """Return the agent of each kernel; one request for all kernels puts them on one agent."""
        if len(positions) == 1:
            agent_id = self._index.agent_id(positions[0])
            return tuple(KernelAllocation(kernel.kernel_id, agent_id) for kernel in session.kernels)
        return tuple(
            KernelAllocation(kernel.kernel_id, self._index.agent_id(position))
            for kernel, position in zip(session.kernels, positions, strict=True)
        )

    def _restore(self, states: list[tuple[int, State]]) -> None:
        for position, state in reversed(states):
            self._index.restore(position, state)


def are_alike(requests: tuple[NodeRequest, ...]) -> bool:
    """Whether all requests are equal, in which case a failed placement proves that none exists."""
    return len(set(requests)) < 2
