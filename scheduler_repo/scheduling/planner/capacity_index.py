"""An index of a scaling group's free capacity: finds an agent for a request without looking at every agent.

Agents form classes by architecture and by the slots they have; a request tries those with the fewest slots it
does not ask for first, which keeps CPU-only work off GPU agents. Within a class, states (free amounts) are
ordered by the scarcest slot, then the next scarcest: the first that fits is the best fit by that slot. Of the
first few, the one is taken that strands the least: free amounts of the scarcest slot that the agent's other
slots cannot serve, at the mean mix of all running and pending kernels.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import islice
from typing import NamedTuple, Optional

from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.rules.feasibility import (
    NodeRequest,
    Wanted,
    amount_at,
    claimed_containers,
    claimed_slots,
    container_limit,
    first_short,
    free_slots,
    wanted_slots,
)
from scheduler_repo.types import AgentId, Architecture

# What an agent has free, one amount per dimension; agents in the same state are interchangeable.
State = tuple[int, ...]
_BLOCK_SIZE = 64

# How many fitting states to compare for stranding: more cost time and pack less tightly.
_COMPARED_STATES = 16

# Weights are whole numbers: this many bits of precision at the least.
_WEIGHT_BITS = 20


class Spot(NamedTuple):
    """An agent that can serve a request: its position in ``data.agents``, and the request in its dimensions."""

    position: int
    wanted: Wanted


class FreeCapacitySet:
    """A sorted set of states of one length, in blocks that know their maximum per dimension.

    A search skips a block whose maximum is too small. Adding and removing cost one bisection and one block; a
    search that finds nothing looks at the maximum of every block.
    """

    def __init__(self) -> None:
        self._blocks: list[list[State]] = []
        self._lasts: list[State] = []
        self._ceilings: list[Optional[State]] = []  # None: to be computed when next looked at

    def add(self, state: State) -> None:
        """Add a state that is not in the set."""
        if not self._blocks:
            self._insert_block(0, [state])
            return
        at = min(bisect_left(self._lasts, state), len(self._blocks) - 1)
        block = self._blocks[at]
        insort(block, state)
        if len(block) > _BLOCK_SIZE:
            half = len(block) // 2
            self._insert_block(at + 1, block[half:])
            del block[half:]
        self._touch(at)

    def remove(self, state: State) -> None:
        """Remove a state that is in the set."""
        at = bisect_left(self._lasts, state)
        block = self._blocks[at]
        del block[bisect_left(block, state)]
        if block:
            self._touch(at)
        else:
            del self._blocks[at], self._lasts[at], self._ceilings[at]

    def fitting(self, wanted: Wanted) -> Iterator[State]:
        """Yield the states that hold all of ``wanted``, whose dimensions ascend, in ascending order.

        The set must not change meanwhile.
        """
        start = 0
        if wanted and wanted[0][0] == 0:
            start = bisect_left(self._lasts, wanted[0][1:])
        for at in range(start, len(self._blocks)):
            ceiling = self._ceilings[at]
            if ceiling is None:
                ceiling = self._ceilings[at] = tuple(map(max, zip(*self._blocks[at], strict=True)))
            if first_short(wanted, ceiling) is None:
                for state in self._blocks[at]:
                    if first_short(wanted, state) is None:
                        yield state

    def _insert_block(self, at: int, block: list[State]) -> None:
        self._blocks.insert(at, block)
        self._lasts.insert(at, block[-1])
        self._ceilings.insert(at, None)

    def _touch(self, at: int) -> None:
        self._lasts[at] = self._blocks[at][-1]
        self._ceilings[at] = None


class SlotMix:
    """The total demand for each slot, running and pending, and the order of scarcity.

    Kernels larger than any agent do not count: they can never run.
    """

    def __init__(self, data: SchedulingData) -> None:
        width = range(len(data.slot_types))
        capacities = [[amount_at(agent.capacity, index) for agent in data.agents] for index in width]
        largest = [max(amounts, default=0) for amounts in capacities]
        pending = Counter(kernel.requested_slots for each in data.pending_sessions for kernel in each.kernels)
        self._demand = [sum(amount_at(agent.occupied, index) for agent in data.agents) for index in width]
        for vector, count in pending.items():
            wanted = wanted_slots(vector)
            if all(index in width and amount <= largest[index] for index, amount in wanted):
                for index, amount in wanted:
                    self._demand[index] += amount * count
        ratios = [
            Fraction(demand, supply) if supply else Fraction(0)
            for demand, supply in zip(self._demand, map(sum, capacities), strict=True)
        ]
        self.scarcest_first = tuple(sorted(width, key=lambda index: (-ratios[index], index)))

    def weight(self, slot_index: int) -> int:
        """Return the weight of one unit: the mean mix weighs the same in every slot; 0 without demand."""
        demand = self._demand[slot_index]
        return (max(self._demand) << _WEIGHT_BITS) // demand if demand else 0


class _AgentClass:
    """Agents of one architecture with the same slots, all of them with or all without a container limit.

    The dimensions of a state are the slots, scarcest first, then the containers left, if limited.
    """

    def __init__(self, architecture: Architecture, slots: tuple[int, ...], *, limits_containers: bool) -> None:
        self.architecture = architecture
        self.slots = slots
        self.dimension_of = {slot: dimension for dimension, slot in enumerate(slots)}
        self.limits_containers = limits_containers
        self.agent_count = 0
        self.states = FreeCapacitySet()
        self.members: dict[State, list[int]] = {}

    def join(self, state: State, position: int) -> None:
        members = self.members.get(state)
        if members is None:
            self.members[state] = [position]
            self.states.add(state)
        else:
            insort(members, position)

    def leave(self, state: State, position: int) -> None:
        members = self.members[state]
        if len(members) == 1:
            del self.members[state]
            self.states.remove(state)
        else:
            del members[bisect_left(members, position)]


class _AgentSearch:
    """One request in the dimensions of one class."""

    def __init__(self, request: NodeRequest, agent_class: _AgentClass, mix: SlotMix) -> None:
        self.agent_class = agent_class
        asked = dict(wanted_slots(request.requested_slots))
        wanted = {agent_class.dimension_of[slot]: amount for slot, amount in asked.items()}
        if agent_class.limits_containers and request.container_count:
            wanted[len(agent_class.slots)] = request.container_count
        self.wanted: Wanted = tuple(sorted(wanted.items()))
        # (dimension, weight, weighed amount) of the slots in demand; the first is the scarcest.
        self._weighed = [
            (dimension, weight, weight * asked.get(slot, 0))
            for dimension, slot in enumerate(agent_class.slots)
            if (weight := mix.weight(slot))
        ]

    def best_state(self) -> Optional[State]:
        fitting = self.agent_class.states.fitting(self.wanted)
        if len(self._weighed) < 2:
            return next(fitting, None)
        return min(islice(fitting, _COMPARED_STATES), key=self.newly_stranded, default=None)

    def newly_stranded(self, state: State) -> int:
        """Return how much more of the scarcest slot the placement strands, weighed; negative if less."""
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


class CapacityIndex:
    """The agents of one snapshot by free capacity, updated as a plan takes it.

    Reserved capacity is not free. ``empty`` indexes the agents as if nothing ran or was reserved. Cost: one
    bisection and a few blocks of states per class for a search, two bisections to take capacity.
    """

    def __init__(self, data: SchedulingData, *, empty: bool = False) -> None:
        self._mix = SlotMix(data)
        self._agents = data.agents
        self._position_of = {agent.agent_id: position for position, agent in enumerate(data.agents)}
        self._class_of: list[_AgentClass] = []
        self._state_of: list[State] = []
        self._searches: dict[NodeRequest, dict[_AgentClass, _AgentSearch]] = {}
        by_kind: dict[tuple[Architecture, tuple[int, ...], bool], _AgentClass] = {}
        nothing = (0,) * len(data.slot_types)
        for position, agent in enumerate(data.agents):
            slots = tuple(slot for slot in self._mix.scarcest_first if amount_at(agent.capacity, slot))
            most_containers = container_limit(agent)
            kind = (agent.architecture, slots, most_containers is not None)
            agent_class = by_kind.get(kind)
            if agent_class is None:
                agent_class = by_kind[kind] = _AgentClass(kind[0], slots, limits_containers=kind[2])
            free = free_slots(agent.capacity, nothing if empty else claimed_slots(agent))
            state = tuple(free[slot] for slot in slots)
            if most_containers is not None:
                state += (most_containers - (0 if empty else claimed_containers(agent)),)
            agent_class.agent_count += 1
            agent_class.join(state, position)
            self._class_of.append(agent_class)
            self._state_of.append(state)
        self._classes = list(by_kind.values())

    def find(self, request: NodeRequest, designated_agent_ids: tuple[AgentId, ...] = ()) -> Optional[Spot]:
        """Find the best agent for a request, among the designated agents if there are any."""
        searches = self._searches.get(request)
        if searches is None:
            searches = self._searches[request] = self._prepare(request)
        if designated_agent_ids:
            return self._find_designated(searches, designated_agent_ids)
        for agent_class, search in searches.items():
            state = search.best_state()
            if state is not None:
                return Spot(agent_class.members[state][0], search.wanted)
        return None

    def take(self, spot: Spot) -> State:
        """Take the capacity of a found spot; returns the state before, for ``restore``."""
        before = self._state_of[spot.position]
        after = list(before)
        for dimension, amount in spot.wanted:
            after[dimension] -= amount
        self.restore(spot.position, tuple(after))
        return before

    def restore(self, position: int, state: State) -> None:
        """Set an agent back to an earlier state."""
        agent_class = self._class_of[position]
        agent_class.leave(self._state_of[position], position)
        agent_class.join(state, position)
        self._state_of[position] = state

    def agent_id(self, position: int) -> AgentId:
        """Return the id of the agent at a position."""
        return self._agents[position].agent_id

    def scarcest_amounts(self, request: NodeRequest) -> tuple[int, ...]:
        """Return the requested amounts, scarcest slot first, to compare the sizes of requests."""
        return tuple(amount_at(request.requested_slots, slot) for slot in self._mix.scarcest_first)

    def _prepare(self, request: NodeRequest) -> dict[_AgentClass, _AgentSearch]:
        """List the classes that could ever serve a request, best match first."""
        asked = {slot for slot, _ in wanted_slots(request.requested_slots)}
        rank = {slot: place for place, slot in enumerate(self._mix.scarcest_first)}

        def waste(agent_class: _AgentClass) -> tuple[int, list[int], int]:
            # With equally many spare slots: the less scarce ones first, then the class with more agents.
            spare = [-rank[slot] for slot in agent_class.slots if slot not in asked]
            return len(spare), spare, -agent_class.agent_count

        eligible = [
            agent_class
            for agent_class in self._classes
            if asked.issubset(agent_class.slots)
            and all(architecture == agent_class.architecture for architecture in request.architectures)
        ]
        return {each: _AgentSearch(request, each, self._mix) for each in sorted(eligible, key=waste)}

    def _find_designated(
        self, searches: dict[_AgentClass, _AgentSearch], designated_agent_ids: Iterable[AgentId]
    ) -> Optional[Spot]:
        ranks = {agent_class: rank for rank, agent_class in enumerate(searches)}
        best: Optional[tuple[int, int, State, int]] = None
        for agent_id in designated_agent_ids:
            position = self._position_of.get(agent_id)
            if position is None or (agent_class := self._class_of[position]) not in searches:
                continue
            state, search = self._state_of[position], searches[agent_class]
            if first_short(search.wanted, state) is None:
                choice = ranks[agent_class], search.newly_stranded(state), state, position
                best = choice if best is None else min(best, choice)
        if best is None:
            return None
        return Spot(best[3], searches[self._class_of[best[3]]].wanted)
