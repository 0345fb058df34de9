"""Agents that differ only in what they have free, and the search for the best of them.

Within a class, states (free amounts) are ordered by the scarcest slot, then the next scarcest: the first that
fits is the best fit by that slot. Of the first few, the one is taken that strands the least: free amounts of
the scarcest slot that the agent's other slots cannot serve, at the mean mix of all running and pending kernels.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import chain, islice
from typing import Final, Optional

from scheduler_repo.scheduling.planner.free_capacity import FreeCapacitySet, State
from scheduler_repo.scheduling.planner.gainers import Gainers
from scheduler_repo.scheduling.rules.feasibility import NodeRequest, Wanted, amount_at, wanted_slots
from scheduler_repo.types import AgentId, Architecture

# How many fitting states to compare for stranding: more cost time and pack less tightly.
_COMPARED_STATES: Final = 16

# What the agents of a class share: architecture, slots, and whether containers are limited.
AgentKind = tuple[Architecture, tuple[int, ...], bool]


class AgentClass:
    """Agents of one architecture with the same slots, all of them with or all without a container limit.

    The dimensions of a state are the slots, scarcest first, then the containers left, if limited. ``members``
    are the agents of each state, by id; ``agent_ids`` all of them.
    """

    def __init__(self, kind: AgentKind) -> None:
        """Made without agents."""
        self.kind = kind
        self.architecture, self.slots, self._limits_containers = kind
        self._dimension_of = {slot: dimension for dimension, slot in enumerate(self.slots)}
        self.agent_ids: list[AgentId] = []
        self.states = FreeCapacitySet()
        self.members: dict[State, list[AgentId]] = {}
        self.gainers = Gainers()

    def add(self, agent_id: AgentId, state: State) -> None:
        """Add an agent."""
        insort(self.agent_ids, agent_id)
        self._join(agent_id, state)

    def remove(self, agent_id: AgentId, state: State) -> None:
        """Remove an agent, which has ``state``."""
        del self.agent_ids[bisect_left(self.agent_ids, agent_id)]
        self._leave(agent_id, state)

    def change(self, agent_id: AgentId, before: State, after: State) -> None:
        """Give an agent another state."""
        self._leave(agent_id, before)
        self._join(agent_id, after)

    def wanted(self, request: NodeRequest) -> Wanted:
        """Return a request in the dimensions of a state."""
        wanted = {self._dimension_of[slot]: amount for slot, amount in wanted_slots(request.requested_slots)}
        if self._limits_containers and request.container_count:
            wanted[len(self.slots)] = request.container_count
        return tuple(sorted(wanted.items()))

    def _join(self, agent_id: AgentId, state: State) -> None:
        members = self.members.get(state)
        if members is None:
            self.members[state] = [agent_id]
            self.states.add(state)
        else:
            insort(members, agent_id)

    def _leave(self, agent_id: AgentId, state: State) -> None:
        members = self.members[state]
        if len(members) == 1:
            del self.members[state]
            self.states.remove(state)
        else:
            del members[bisect_left(members, agent_id)]


class AgentSearch:
    """The search for one request in one class.

    ``weights`` are those of one unit of each slot; the searches of one plan are given the same tuple.
    """

    def __init__(self, request: NodeRequest, agent_class: AgentClass, wanted: Wanted) -> None:
        """``wanted`` is the request in the dimensions of the class."""
        self.wanted = wanted
        self._request = request
        self._class = agent_class
        self._weights: tuple[int, ...] = ()
        # (dimension, weight, weighed amount) of the slots in demand; the first is the scarcest.
        self._weighed: list[tuple[int, int, int]] = []

    def best_state(self, weights: tuple[int, ...]) -> Optional[State]:
        """Find the best state that has room, None if no agent has."""
        return self._best_of(self._class.states.fitting(self.wanted), weights)

    def best_gainer(self, weights: tuple[int, ...]) -> Optional[State]:
        """Find what ``best_state`` finds, where no other agent than gainers has room."""
        return self._best_of(self._class.gainers.fitting(self.wanted), weights)

    def newly_stranded(self, state: State, weights: tuple[int, ...]) -> int:
        """Return how much more of the scarcest slot the placement strands, weighed; negative if less."""
        self._weigh(weights)
        return self._stranded(state)

    def _best_of(self, fitting: Iterator[State], weights: tuple[int, ...]) -> Optional[State]:
        first = next(fitting, None)
        if first is None:
            return None
        self._weigh(weights)
        if len(self._weighed) < 2:
            return first
        return min(chain((first,), islice(fitting, _COMPARED_STATES - 1)), key=self._stranded)

    def _weigh(self, weights: tuple[int, ...]) -> None:
        if self._weights is not weights:
            self._weights = weights
            self._weighed = [
                (dimension, weight, weight * amount_at(self._request.requested_slots, slot))
                for dimension, slot in enumerate(self._class.slots)
                if (weight := weights[slot])
            ]

    def _stranded(self, state: State) -> int:
        if len(self._weighed) < 2:
            return 0
        dimension, weight, asked = self._weighed[1]
        before = state[dimension] * weight
        after = before - asked
        for dimension, weight, asked in self._weighed[2:]:
            share = state[dimension] * weight
            if share < before:
                before = share
            if share - asked < after:
                after = share - asked
        dimension, weight, asked = self._weighed[0]
        scarcest = state[dimension] * weight
        return max(scarcest - asked - after, 0) - max(scarcest - before, 0)
