"""An index of a scaling group's free capacity: finds an agent for a request without looking at every agent.

Agents form classes by architecture and by the slots they have; a request tries those with the fewest slots it
does not ask for first, which keeps CPU-only work off GPU agents.
"""

from collections.abc import Collection, Iterable
from operator import gt
from typing import NamedTuple, Optional

from scheduler_repo.entities.scheduling_data import SchedulableAgent, SchedulingData
from scheduler_repo.scheduling.planner.agent_class import AgentClass, AgentKind, AgentSearch
from scheduler_repo.scheduling.planner.free_capacity import State
from scheduler_repo.scheduling.planner.gainers import Gainers
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
from scheduler_repo.types import AgentId


class Spot(NamedTuple):
    """An agent that can serve a request, and the request in the agent's dimensions."""

    agent_id: AgentId
    wanted: Wanted


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
        self._classes: dict[AgentKind, AgentClass] = {}
        self._class_of: dict[AgentId, AgentClass] = {}
        self._state_of: dict[AgentId, State] = {}
        self._gainers: set[AgentId] = set()
        # Which gainers had room, in which state; None where none had: those that have shrunk hold no more now.
        self._fitting: dict[NodeRequest, Optional[tuple[Gainers, State]]] = {}
        self._searches: dict[NodeRequest, dict[AgentClass, AgentSearch]] = {}
        self._eligible: dict[NodeRequest, dict[AgentClass, Wanted]] = {}
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
        left = tuple(after)
        gainers = self._set_state(spot.agent_id, left).gainers
        if spot.agent_id in gainers:
            gainers.put(spot.agent_id, left)
        return before

    def restore(self, agent_id: AgentId, state: State) -> None:
        """Set an agent back to an earlier state."""
        gainers = self._set_state(agent_id, state).gainers
        if agent_id in gainers:
            gainers.put(agent_id, state)
            self._fitting.clear()

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
            self._set_state(agent_id, state)
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
        self._fitting.clear()
        for agent_id in self._gainers:
            self._class_of[agent_id].gainers.put(agent_id, self._state_of[agent_id])
        return is_reordered

    @property
    def gainers(self) -> Collection[AgentId]:
        """The agents that have gained room since ``forget_gainers``."""
        return self._gainers

    def forget_gainers(self) -> None:
        """Begin anew to watch which agents gain room."""
        self._gainers.clear()
        for agent_class in self._classes.values():
            agent_class.gainers.clear()

    def fits_gainer(self, request: NodeRequest, designated_agent_ids: tuple[AgentId, ...]) -> bool:
        """Whether an agent that has gained room has enough for a request, after ``settle``."""
        if not designated_agent_ids:
            known = self._fitting.get(request)
            if known is None and request in self._fitting:
                return False
            if known is None or not known[0].has(known[1]):
                known = self._fitting[request] = self._find_gainer(request)
            return known is not None
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

    def _place_of(self, agent: SchedulableAgent) -> tuple[AgentKind, State]:
        slots = tuple(slot for slot in self._order if amount_at(agent.capacity, slot))
        most_containers = container_limit(agent)
        free = free_slots(agent.capacity, (0,) * self._slot_count if self._empty else claimed_slots(agent))
        state = tuple(free[slot] for slot in slots)
        if most_containers is not None:
            state += (most_containers - (0 if self._empty else claimed_containers(agent)),)
        return (agent.architecture, slots, most_containers is not None), state

    def _add(self, agent_id: AgentId, kind: AgentKind, state: State) -> None:
        agent_class = self._classes.get(kind)
        if agent_class is None:
            agent_class = self._classes[kind] = AgentClass(kind)
            self._eligible.clear()
        agent_class.add(agent_id, state)
        # A class with more agents comes first.
        self._searches.clear()
        self._class_of[agent_id], self._state_of[agent_id] = agent_class, state
        self.version += 1

    def _remove(self, agent_id: AgentId, agent_class: AgentClass) -> None:
        agent_class.remove(agent_id, self._state_of[agent_id])
        self._searches.clear()
        if not agent_class.agent_ids:
            del self._classes[agent_class.kind]
            self._eligible.clear()
        del self._class_of[agent_id], self._state_of[agent_id]
        self.version += 1

    def _find_gainer(self, request: NodeRequest) -> Optional[tuple[Gainers, State]]:
        for agent_class, wanted in self._eligible_classes(request).items():
            state = agent_class.gainers.find_room(wanted)
            if state is not None:
                return agent_class.gainers, state
        return None

    def _set_state(self, agent_id: AgentId, state: State) -> AgentClass:
        """Set what an agent has free; returns its class."""
        agent_class = self._class_of[agent_id]
        agent_class.change(agent_id, self._state_of[agent_id], state)
        self._state_of[agent_id] = state
        self.version += 1
        return agent_class

    def _eligible_classes(self, request: NodeRequest) -> dict[AgentClass, Wanted]:
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

    def _prepare(self, request: NodeRequest) -> dict[AgentClass, AgentSearch]:
        """List the classes that could ever serve a request, best match first."""
        asked = {slot for slot, _ in wanted_slots(request.requested_slots)}
        rank = {slot: place for place, slot in enumerate(self._order)}

        def waste(agent_class: AgentClass) -> tuple[int, list[int], int, AgentId]:
            # With equally many spare slots: the less scarce ones first, then the class with more agents.
            spare = [-rank[slot] for slot in agent_class.slots if slot not in asked]
            return len(spare), spare, -len(agent_class.agent_ids), agent_class.agent_ids[0]

        eligible = self._eligible_classes(request)
        return {each: AgentSearch(request, each, eligible[each]) for each in sorted(eligible, key=waste)}

    def _find_designated(
        self, searches: dict[AgentClass, AgentSearch], designated_agent_ids: Iterable[AgentId]
    ) -> Optional[Spot]:
        ranks = {agent_class: rank for rank, agent_class in enumerate(searches)}
        best: Optional[tuple[int, int, State, AgentId]] = None
        for agent_id in designated_agent_ids:
            agent_class = self._class_of.get(agent_id)
            if agent_class is None or agent_class not in searches:
                continue
            state, search = self._state_of[agent_id], searches[agent_class]
            if first_short(search.wanted, state) is None:
                stranded = search.newly_stranded(state, self.mix.weights)
                choice = ranks[agent_class], stranded, state, agent_id
                best = choice if best is None else min(best, choice)
        if best is None:
            return None
        return Spot(best[3], searches[self._class_of[best[3]]].wanted)
