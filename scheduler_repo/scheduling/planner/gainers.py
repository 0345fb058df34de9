"""The agents of one class that have gained room, asked whether one of them has enough."""

from collections.abc import Iterator
from operator import ge
from typing import Optional

from scheduler_repo.scheduling.planner.free_capacity import State
from scheduler_repo.scheduling.rules.feasibility import Wanted, first_short
from scheduler_repo.types import AgentId


class Gainers:
    """The agents that have gained room since the last snapshot, each with what it has free.

    A question costs one step for each state of which no other agent has all. Those are found anew, in the
    square of their number, where one of them has changed.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._states: dict[AgentId, State] = {}
        # The states of which no other one has all, largest first; None: to be found when next asked.
        self._front: Optional[list[State]] = None

    def __contains__(self, agent_id: AgentId) -> bool:
        return agent_id in self._states

    def put(self, agent_id: AgentId, state: State) -> None:
        """Set what an agent has free, which may be one more that has gained room."""
        self._states[agent_id] = state
        self._front = None

    def shrink(self, agent_id: AgentId, state: State) -> bool:
        """Set what is left to one of them; whether less may fit now."""
        before = self._states[agent_id]
        self._states[agent_id] = state
        if self._front is not None and before not in self._front:
            # Another one had all that it had, and has still more than what is left.
            return False
        self._front = None
        return True

    def clear(self) -> None:
        """Begin anew, with none."""
        self._states.clear()
        self._front = None

    def have_room(self, wanted: Wanted) -> bool:
        """Whether one of them holds all of ``wanted``."""
        if self._front is None:
            self._front = []
            for state in sorted(set(self._states.values()), reverse=True):
                if not any(all(map(ge, larger, state)) for larger in self._front):
                    self._front.append(state)
        for state in self._front:
            for dimension, amount in wanted:
                if state[dimension] < amount:
                    break
            else:
                return True
        return False

    def fitting(self, wanted: Wanted) -> Iterator[State]:
        """Iterate over the states that hold all of ``wanted``, in ascending order."""
        if not self.have_room(wanted):
            return iter(())
        states = set(self._states.values())
        return iter(sorted(state for state in states if first_short(wanted, state) is None))
