"""The demand for each slot, kept as agents and sessions come, change and go."""

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

from scheduler_repo.entities.scheduling_data import PendingKernel, SchedulableAgent, SchedulingData
from scheduler_repo.scheduling.rules.feasibility import amount_at, wanted_slots
from scheduler_repo.types import SlotVector

# Weights are whole numbers: this many bits of precision at the least.
_WEIGHT_BITS = 20


class SlotMix:
    """The total demand for each slot, running and pending, and the order of scarcity.

    Kernels larger than any agent do not count: they can never run. ``weights`` are those of one unit of each
    slot: the mean mix weighs the same in every slot; 0 without demand. What is counted shows in them and in
    ``scarcest_first`` after ``settle``.
    """

    def __init__(self, data: SchedulingData) -> None:
        """Count the agents and the pending sessions of a snapshot; costs one pass over both."""
        self._width = range(len(data.slot_types))
        self._supply = [0] * len(self._width)
        self._running = [0] * len(self._width)
        self._waiting = [0] * len(self._width)
        # How many agents have so much of a slot, and how many pending kernels ask for a vector.
        self._capacities: list[Counter[int]] = [Counter() for _ in self._width]
        self._asked: Counter[SlotVector] = Counter(
            kernel.requested_slots for each in data.pending_sessions for kernel in each.kernels
        )
        self._largest: list[int] = []
        for agent in data.agents:
            self.count_agent(agent)
        self.scarcest_first: tuple[int, ...] = ()
        self.weights: tuple[int, ...] = ()
        self.settle()

    def count_agent(self, agent: SchedulableAgent, sign: int = 1) -> None:
        """Count an agent that came; with ``sign`` -1, one that went."""
        for index in self._width:
            capacity = amount_at(agent.capacity, index)
            self._supply[index] += sign * capacity
            self._running[index] += sign * amount_at(agent.occupied, index)
            counter = self._capacities[index]
            counter[capacity] += sign
            if not counter[capacity]:
                del counter[capacity]

    def count_kernels(self, kernels: Iterable[PendingKernel], sign: int = 1) -> None:
        """Count the kernels of a session that came into the queue; with ``sign`` -1, of one that left it."""
        for kernel in kernels:
            vector = kernel.requested_slots
            self._asked[vector] += sign
            if not self._asked[vector]:
                del self._asked[vector]
            self._demand(vector, sign)

    def settle(self) -> bool:
        """Bring order and weights up to date; whether one of them differs from before.

        Costs a step for each distinct vector of requested slots where the largest agent has changed.
        """
        largest = [max(counter, default=0) for counter in self._capacities]
        if largest != self._largest:
            self._largest = largest
            self._waiting = [0] * len(self._width)
            for vector, count in self._asked.items():
                self._demand(vector, count)
        demands = [running + waiting for running, waiting in zip(self._running, self._waiting, strict=True)]
        ratios = [
            Fraction(demand, supply) if supply else Fraction(0)
            for demand, supply in zip(demands, self._supply, strict=True)
        ]
        order = tuple(sorted(self._width, key=lambda index: (-ratios[index], index)))
        most = max(demands, default=0)
        weights = tuple((most << _WEIGHT_BITS) // demand if demand else 0 for demand in demands)
        differs = (order, weights) != (self.scarcest_first, self.weights)
        self.scarcest_first, self.weights = order, weights
        return differs

    def _demand(self, vector: SlotVector, count: int) -> None:
        wanted = wanted_slots(vector)
        if all(index in self._width and amount <= self._largest[index] for index, amount in wanted):
            for index, amount in wanted:
                self._waiting[index] += amount * count
