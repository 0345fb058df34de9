"""Places all kernels of a session on a capacity index, or none, and remembers what found no place."""

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
    """An attempt at a session: an agent's position per request, or how many found one before the first did not.

    ``states`` are those of the agents before, in the order in which they were taken.
    """

    positions: Optional[tuple[int, ...]]
    placed_count: int
    states: tuple[tuple[int, State], ...]


class SessionPlacer:
    """Places sessions one after the other, taking what they need.

    A session of several requests (MULTI_NODE) is placed largest first, each where it fits best, without going
    back on a choice. That finds a place whenever there is one if the requests are alike; if they differ it may
    miss one. Within one plan capacity only shrinks, so a session that asks for the same as one that found no
    place is not tried again.
    """

    def __init__(self, index: CapacityIndex) -> None:
        self._index = index
        self._failed: dict[_Question, Placement] = {}

    def place(self, requests: tuple[NodeRequest, ...], designated: tuple[AgentId, ...]) -> Placement:
        """Take an agent for every request; if one finds none, everything is as before."""
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
        """Undo the last placement."""
        self._restore(list(placement.states))

    def allocations(self, session: PendingSession, positions: tuple[int, ...]) -> tuple[KernelAllocation, ...]:
        """Name the agent of each kernel; a request for all kernels together puts them on one agent."""
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
    """Whether all requests ask for the same, so that finding no joint placement proves that there is none."""
    return len(set(requests)) < 2
