"""An index of a scaling group's free capacity: finds an agent for a request without looking at every agent.

Agents form classes by architecture and by the slots they have; a request tries those with the fewest slots it
does not ask for first, which keeps CPU-only work off GPU agents. Within a class, states (free amounts) are
ordered by the scarcest slot, then the next scarcest: the first that fits is the best fit by that slot. Of the
first few, the one is taken that strands the least: free amounts of the scarcest slot that the agent's other
slots cannot serve, at the mean mix of all running and pending kernels.
"""

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Iterator
from itertools import chain, islice
from operator import ge, gt
from typing import NamedTuple, Optional

from scheduler_repo.entities.scheduling_data import SchedulableAgent, SchedulingData
from scheduler_repo.scheduling.planner.free_capacity import FreeCapacitySet, State
from scheduler_repo.scheduling.planner.slot_mix import SlotMix
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

# How many fitting states to compare for stranding: more cost time and pack less tightly.
_COMPARED_STATES = 16

# What the agents of a class share: architecture, slots, and whether containers are limited.
_Kind = tuple[Architecture, tuple[int, ...], bool]


class Spot(NamedTuple):
    """An agent that can serve a request, and the request in the agent's dimensions."""

    agent_id: AgentId
    wanted: Wanted


class _AgentClass:
    """Agents of one architecture with the same slots, all of them with or all without a container limit.

    The dimensions of a state are the slots, scarcest first, then the containers left, if limited. ``members``
    are the agents of each state, by id. ``gainers`` are the states of those that gained room.
    """

    def __init__(self, kind: _Kind) -> None:
        self.kind = kind
        self.architecture, self.slots, self.limits_containers = kind
        self.dimension_of = {slot: dimension for dimension, slot in enumerate(self.slots)}
        self.agent_ids: list[AgentId] = []
        self.states = FreeCapacitySet()
        self.members: dict[State, list[AgentId]] = {}
        self.gainers: dict[AgentId, State] = {}
        self._front: Optional[list[State]] = None

    def join(self, state: State, agent_id: AgentId) -> None:
        members = self.members.get(state)
        if members is None:
            self.members[state] = [agent_id]
            self.states.add(state)
        else:
            insort(members, agent_id)

    def leave(self, state: State, agent_id: AgentId) -> None:
        members = self.members[state]
        if len(members) == 1:
            del self.members[state]
            self.states.remove(state)
        else:
            del members[bisect_left(members, agent_id)]

    def set_gainer(self, agent_id: AgentId, state: State) -> bool:
        """Set the state of a gainer; whether that may matter to what fits the gainers, where it has shrunk."""
        before = self.gainers.get(agent_id)
        self.gainers[agent_id] = state
        if self._front is not None and before is not None and before not in self._front:
            # Another one had all that it had, and has still more than what is left.
            return False
        self._front = None
        return True

    def forget_gainers(self) -> None:
        self.gainers.clear()
        self._front = None

    def forget_front(self) -> None:
        self._front = None

    def fits_gainer(self, wanted: Wanted) -> bool:
        """Whether one of the gainers holds all of ``wanted``."""
        if self._front is None:
            # Of the states of gainers, those that no other has all of.
            self._front = []
            for state in sorted(set(self.gainers.values()), reverse=True):
                if not any(all(map(ge, larger, state)) for larger in self._front):
                    self._front.append(state)
        for state in self._front:
            for dimension, amount in wanted:
                if state[dimension] < amount:
                    break
            else:
                return True
        return False

    def wanted(self, request: NodeRequest) -> Wanted:
        """Return a request in the dimensions of a state."""
        wanted = {self.dimension_of[slot]: amount for slot, amount in wanted_slots(request.requested_slots)}
        if self.limits_containers and request.container_count:
            wanted[len(self.slots)] = request.container_count
        return tuple(sorted(wanted.items()))


class _AgentSearch:
    """One request in the dimensions of one class."""

    def __init__(self, request: NodeRequest, agent_class: _AgentClass, wanted: Wanted) -> None:
        self.wanted = wanted
        self._request = request
        self._class = agent_class
        self._weights: tuple[int, ...] = ()
        self._weighed: list[tuple[int, int, int]] = []

    def weigh(self, weights: tuple[int, ...]) -> None:
        """Weigh the slots as they are in demand now."""
        if self._weights is not weights:
            self._weights = weights
            # (dimension, weight, weighed amount) of the slots in demand; the first is the scarcest.
            self._weighed = [
                (dimension, weight, weight * amount_at(self._request.requested_slots, slot))
                for dimension, slot in enumerate(self._class.slots)
                if (weight := weights[slot])
            ]

    def best_state(self, weights: tuple[int, ...]) -> Optional[State]:
        return self._best_of(self._class.states.fitting(self.wanted), weights)

    def best_gainer(self, weights: tuple[int, ...]) -> Optional[State]:
        """Find what ``best_state`` finds, where no other agent than gainers fits."""
        if not self._class.gainers or not self._class.fits_gainer(self.wanted):
            return None
        fitting = [
            state for state in set(self._class.gainers.values()) if first_short(self.wanted, state) is None
        ]
        return self._best_of(iter(sorted(fitting)), weights)

    def _best_of(self, fitting: Iterator[State], weights: tuple[int, ...]) -> Optional[State]:
        first = next(fitting, None)
        if first is None:
            return None
        self.weigh(weights)
        if len(self._weighed) < 2:
            return first
        return min(chain((first,), islice(fitting, _COMPARED_STATES - 1)), key=self.newly_stranded)

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

    It may follow the agents and the queue from one snapshot to the next: count what comes and goes in ``mix``,
    ``set_agent`` each agent that differs, then ``settle``. ``version`` differs wherever a search might find
    another agent than before.
    """

    def __init__(self, data: SchedulingData, *, empty: bool = False) -> None:
        self.mix = SlotMix(data)
        self.version = 0
        self._empty = empty
        self._slot_count = len(data.slot_types)
        self._order: tuple[int, ...] = ()
        self._classes: dict[_Kind, _AgentClass] = {}
        self._class_of: dict[AgentId, _AgentClass] = {}
        self._state_of: dict[AgentId, State] = {}
        self._gainers: set[AgentId] = set()
        # Of the gainers, as they are in a plan: those that have shrunk hold no more than they held.
        self._fitting: set[NodeRequest] = set()
        self._unfitting: set[NodeRequest] = set()
        self._searches: dict[NodeRequest, dict[_AgentClass, _AgentSearch]] = {}
        self._eligible: dict[NodeRequest, dict[_AgentClass, Wanted]] = {}
        self._index(data.agents)

    def __len__(self) -> int:
        return len(self._class_of)

    def find(
        self,
        request: NodeRequest,
        designated_agent_ids: tuple[AgentId, ...] = (),
        *,
        among_gainers: bool = False,
    ) -> Optional[Spot]:
        """Find the best agent for a request, among the designated agents if there are any.

        ``among_gainers`` finds the same in less time where it is known that no other agent has room.
        """
        searches = self._searches.get(request)
        if searches is None:
            searches = self._searches[request] = self._prepare(request)
        if designated_agent_ids:
            return self._find_designated(searches, designated_agent_ids)
        weights = self.mix.weights
        for agent_class, search in searches.items():
            state = search.best_gainer(weights) if among_gainers else search.best_state(weights)
            if state is not None:
                return Spot(agent_class.members[state][0], search.wanted)
        return None

    def take(self, spot: Spot) -> State:
        """Take the capacity of a found spot; returns the state before, for ``restore``."""
        before = self._state_of[spot.agent_id]
        after = list(before)
        for dimension, amount in spot.wanted:
            after[dimension] -= amount
        if self._set_state(spot.agent_id, tuple(after)):
            self._fitting.clear()
        return before

    def restore(self, agent_id: AgentId, state: State) -> None:
        """Set an agent back to an earlier state."""
        self._class_of[agent_id].forget_front()
        self._set_state(agent_id, state)
        self._fitting.clear()
        self._unfitting.clear()

    def _set_state(self, agent_id: AgentId, state: State) -> bool:
        """Set what an agent has free; whether that may matter to what fits the gainers, where it has shrunk."""
        agent_class, before = self._class_of[agent_id], self._state_of[agent_id]
        agent_class.leave(before, agent_id)
        agent_class.join(state, agent_id)
        self._state_of[agent_id] = state
        self.version += 1
        return agent_id in agent_class.gainers and agent_class.set_gainer(agent_id, state)

    def scarcest_amounts(self, request: NodeRequest) -> tuple[int, ...]:
        """Return the requested amounts, scarcest slot first, to compare the sizes of requests."""
        return tuple(amount_at(request.requested_slots, slot) for slot in self._order)

    def set_agent(self, agent_id: AgentId, agent: Optional[SchedulableAgent]) -> None:
        """Follow an agent to what it is now, None if it takes kernels no more; may be a new one.

        One that has more room than before, in any slot, or other slots is a gainer until ``forget_gainers``.
        """
        was = self._class_of.get(agent_id)
        if agent is None:
            if was is not None:
                self._remove(agent_id, was)
            return
        kind, state = self._place_of(agent)
        if was is not None and was.kind == kind:
            before = self._state_of[agent_id]
            if state == before:
                return
            has_gained = any(map(gt, state, before))
            self.restore(agent_id, state)
        else:
            if was is not None:
                self._remove(agent_id, was)
            self._add(agent_id, kind, state)
            has_gained = True
        if has_gained:
            self._gainers.add(agent_id)

    def settle(self, agents: Iterable[SchedulableAgent]) -> bool:
        """Weigh slots anew after changes; whether all was indexed again as another slot is the scarcest.

        ``agents`` are all of them, as they are now.
        """
        if self.mix.settle():
            self.version += 1
        is_reordered = self._order != self.mix.scarcest_first
        if is_reordered:
            self._index(agents)
        for agent_id in self._gainers:
            self._class_of[agent_id].set_gainer(agent_id, self._state_of[agent_id])
        return is_reordered

    @property
    def gainers(self) -> Collection[AgentId]:
        """The agents that have gained room since ``forget_gainers``."""
        return self._gainers

    def forget_gainers(self) -> None:
        """Begin anew to watch which agents gain room."""
        self._gainers.clear()
        for agent_class in self._classes.values():
            agent_class.forget_gainers()
        self._fitting.clear()
        self._unfitting.clear()

    def fits_gainer(self, request: NodeRequest, designated_agent_ids: tuple[AgentId, ...]) -> bool:
        """Whether an agent that has gained room has enough for a request, after ``settle``."""
        if not designated_agent_ids:
            if request in self._unfitting:
                return False
            if request in self._fitting:
                return True
            for agent_class, wanted in self._eligible_classes(request).items():
                if agent_class.gainers and agent_class.fits_gainer(wanted):
                    self._fitting.add(request)
                    return True
            self._unfitting.add(request)
            return False
        eligible = self._eligible_classes(request)
        for agent_id in designated_agent_ids:
            if agent_id in self._gainers:
                asked = eligible.get(self._class_of[agent_id])
                if asked is not None and first_short(asked, self._state_of[agent_id]) is None:
                    return True
        return False

    def forget_request(self, request: NodeRequest) -> None:
        """Keep nothing of a request that nobody waits with any more; it may be searched for again."""
        self._searches.pop(request, None)
        self._eligible.pop(request, None)

    def _index(self, agents: Iterable[SchedulableAgent]) -> None:
        self._order = self.mix.scarcest_first
        for known in (self._classes, self._class_of, self._state_of, self._searches, self._eligible):
            known.clear()
        for agent in agents:
            self._add(agent.agent_id, *self._place_of(agent))

    def _place_of(self, agent: SchedulableAgent) -> tuple[_Kind, State]:
        slots = tuple(slot for slot in self._order if amount_at(agent.capacity, slot))
        most_containers = container_limit(agent)
        free = free_slots(agent.capacity, (0,) * self._slot_count if self._empty else claimed_slots(agent))
        state = tuple(free[slot] for slot in slots)
        if most_containers is not None:
            state += (most_containers - (0 if self._empty else claimed_containers(agent)),)
        return (agent.architecture, slots, most_containers is not None), state

    def _add(self, agent_id: AgentId, kind: _Kind, state: State) -> None:
        agent_class = self._classes.get(kind)
        if agent_class is None:
            agent_class = self._classes[kind] = _AgentClass(kind)
            self._eligible.clear()
        agent_class.join(state, agent_id)
        insort(agent_class.agent_ids, agent_id)
        # A class with more agents comes first.
        self._searches.clear()
        self._class_of[agent_id], self._state_of[agent_id] = agent_class, state
        self.version += 1

    def _remove(self, agent_id: AgentId, agent_class: _AgentClass) -> None:
        agent_class.leave(self._state_of[agent_id], agent_id)
        del agent_class.agent_ids[bisect_left(agent_class.agent_ids, agent_id)]
        self._searches.clear()
        if not agent_class.agent_ids:
            del self._classes[agent_class.kind]
            self._eligible.clear()
        del self._class_of[agent_id], self._state_of[agent_id]
        self.version += 1

    def _eligible_classes(self, request: NodeRequest) -> dict[_AgentClass, Wanted]:
        """Return the classes that could ever serve a request, and what that is in their dimensions."""
        eligible = self._eligible.get(request)
        if eligible is None:
            asked = {slot for slot, _ in wanted_slots(request.requested_slots)}
            eligible = self._eligible[request] = {
                agent_class: agent_class.wanted(request)
                for agent_class in self._classes.values()
                if asked.issubset(agent_class.slots)
                and all(architecture == agent_class.architecture for architecture in request.architectures)
            }
        return eligible

    def _prepare(self, request: NodeRequest) -> dict[_AgentClass, _AgentSearch]:
        """List the classes that could ever serve a request, best match first."""
        asked = {slot for slot, _ in wanted_slots(request.requested_slots)}
        rank = {slot: place for place, slot in enumerate(self._order)}

        def waste(agent_class: _AgentClass) -> tuple[int, list[int], int, AgentId]:
            # With equally many spare slots: the less scarce ones first, then the class with more agents.
            spare = [-rank[slot] for slot in agent_class.slots if slot not in asked]
            return len(spare), spare, -len(agent_class.agent_ids), agent_class.agent_ids[0]

        eligible = self._eligible_classes(request)
        return {each: _AgentSearch(request, each, eligible[each]) for each in sorted(eligible, key=waste)}

    def _find_designated(
        self, searches: dict[_AgentClass, _AgentSearch], designated_agent_ids: Iterable[AgentId]
    ) -> Optional[Spot]:
        ranks = {agent_class: rank for rank, agent_class in enumerate(searches)}
        best: Optional[tuple[int, int, State, AgentId]] = None
        for agent_id in designated_agent_ids:
            agent_class = self._class_of.get(agent_id)
            if agent_class is None or agent_class not in searches:
                continue
            state, search = self._state_of[agent_id], searches[agent_class]
            if first_short(search.wanted, state) is None:
                search.weigh(self.mix.weights)
                choice = ranks[agent_class], search.newly_stranded(state), state, agent_id
                best = choice if best is None else min(best, choice)
        if best is None:
            return None
        return Spot(best[3], searches[self._class_of[best[3]]].wanted)
