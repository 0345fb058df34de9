"""The agents of one class that have gained room, asked whether one of them has enough."""

from collections.abc import Iterable, Iterator
from typing import Optional

from scheduler_repo.scheduling.planner.free_capacity import FreeCapacitySet, State
from scheduler_repo.scheduling.rules.feasibility import Wanted
from scheduler_repo.types import AgentId


class Gainers:
    """The agents that have gained room since the last snapshot, each with what it has free.

    A question costs one step for each state of the front: those of which no other agent has all, and few
    others. Where an agent leaves a state of the front, each state is compared with that once.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self._state_of: dict[AgentId, State] = {}
        # How many of them are in a state.
        self._counts: dict[State, int] = {}
        self._states = FreeCapacitySet()
        # None until the first question.
        self._front: Optional[list[State]] = None

    def __contains__(self, agent_id: AgentId) -> bool:
        return agent_id in self._state_of

    def put(self, agent_id: AgentId, state: State) -> None:
        """Set what an agent has free, which may be one more that has gained room."""
        before = self._state_of.get(agent_id)
        if before == state:
            return
        self._state_of[agent_id] = state
        self._join(state)
        if before is not None:
            self._leave(before)

    def clear(self) -> None:
        """Begin anew, with none."""
        if self._state_of:
            self._state_of, self._counts = {}, {}
            self._states, self._front = FreeCapacitySet(), None

    def has(self, state: State) -> bool:
        """Whether one of them is in a state."""
        return state in self._counts

    def find_room(self, wanted: Wanted) -> Optional[State]:
        """Find the state of one that holds all of ``wanted``, any one."""
        if self._front is None:
            self._front = []
            self._extend(self._front, reversed(self._states))
        for state in self._front:
            for dimension, amount in wanted:
                if state[dimension] < amount:
                    break
            else:
                return state
        return None

    def fitting(self, wanted: Wanted) -> Iterator[State]:
        """Iterate over the states that hold all of ``wanted``, ascending; none may change meanwhile."""
        return iter(()) if self.find_room(wanted) is None else self._states.fitting(wanted)

    def _join(self, state: State) -> None:
        count = self._counts[state] = self._counts.get(state, 0) + 1
        if count == 1:
            self._states.add(state)
            if self._front is not None:
                self._extend(self._front, (state,))

    def _leave(self, state: State) -> None:
        self._counts[state] -= 1
        if self._counts[state]:
            return
        del self._counts[state]
        self._states.remove(state)
        if self._front is not None and state in self._front:
            self._front.remove(state)
            # It may have been the only one that had all of these.
            self._extend(self._front, (each for each in reversed(self._states) if _holds(state, each)))

    @staticmethod
    def _extend(front: list[State], states: Iterable[State]) -> None:
        for state in states:
            for larger in front:
                if _holds(larger, state):
                    break
            else:
                front.append(state)


def _holds(larger: State, state: State) -> bool:
    # A plain loop is several times as fast as all() of a generator.
    for more, less in zip(larger, state, strict=True):  # noqa: SIM110
        if more < less:
            return False
    return True
