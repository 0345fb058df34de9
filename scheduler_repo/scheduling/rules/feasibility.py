"""Whether a request fits: the one predicate of the planner, the waiting reasons and the write gate.

Every check returns None if it passes, else a struct that names the first obstacle. Amounts are whole
numbers in each slot's smallest unit, at the slot type's ``slot_index``.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import zip_longest
from operator import attrgetter
from typing import Final, Optional, TypeVar, Union

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.obstacles import (
    AgentObstacle,
    ArchitectureMismatch,
    ContainerShortage,
    NotDesignated,
    QuotaBreach,
    QuotaKind,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import (
    PendingKernel,
    PendingSession,
    ReservedKernel,
    SchedulableAgent,
    SessionDependency,
)
from scheduler_repo.types import AgentId, Architecture, ClusterMode, SlotLimits, SlotVector

KeyT = TypeVar("KeyT")

# (index, amount) of the requested slots. Only amounts above 0, so that a zero request fits everywhere: on an
# agent without the slot, and on one that is over its capacity.
Wanted = tuple[tuple[int, int], ...]


class NodeRequest(msgspec.Struct, frozen=True, gc=False):
    """A request to one agent: slots, containers and architectures, ordered.

    A request for two architectures fits no agent.
    """

    requested_slots: SlotVector
    container_count: int
    architectures: tuple[Architecture, ...]


class Load(msgspec.Struct, frozen=True, gc=False):
    """Slots, and the number of containers (of an owner's load: sessions) that take them."""

    slots: SlotVector
    count: int

    def plus(self, other: "Load") -> "Load":
        """Add another load of the same agent or owner."""
        return Load(total_slots((self.slots, other.slots)), self.count + other.count)

    def minus(self, other: "Load") -> "Load":
        """Subtract another load; negative where that is more."""
        return Load(free_slots(self.slots, other.slots), self.count - other.count)


NO_LOAD = Load((), 0)
MOST_CONTAINERS: Final = 2**31 - 1


def wanted_slots(requested: SlotVector) -> Wanted:
    """List the slots with a requested amount above 0, by index."""
    return tuple((index, amount) for index, amount in enumerate(requested) if amount)


def first_short(wanted: Wanted, free: Sequence[int]) -> Optional[tuple[int, int]]:
    """Find the first (index, amount) of ``wanted`` that exceeds ``free``, which covers every index."""
    for pair in wanted:
        if pair[1] > free[pair[0]]:
            return pair
    return None


def free_slots(capacity: SlotVector, occupied: SlotVector) -> SlotVector:
    """Subtract slot by slot; negative where an agent is over its capacity."""
    return tuple(total - used for total, used in zip_longest(capacity, occupied, fillvalue=0))


def amount_at(vector: SlotVector, index: int) -> int:
    """Return the amount of one slot, 0 beyond the end of the vector."""
    return vector[index] if index < len(vector) else 0


def total_slots(vectors: Iterable[SlotVector]) -> SlotVector:
    """Add slot by slot; the result is as long as the longest of ``vectors``."""
    return tuple(map(sum, zip_longest(*vectors, fillvalue=0)))


def loads_by(claims: Iterable[tuple[KeyT, SlotVector]]) -> dict[KeyT, Load]:
    """Add up what is claimed of each agent, or by each owner, and count the claims."""
    vectors: dict[KeyT, list[SlotVector]] = {}
    for key, slots in claims:
        vectors.setdefault(key, []).append(slots)
    return {
        key: Load(each[0] if len(each) == 1 else total_slots(each), len(each)) for key, each in vectors.items()
    }


def claimed_slots(agent: SchedulableAgent) -> SlotVector:
    """Add occupied and reserved slots: what a session without a reservation on the agent cannot have."""
    return total_slots((agent.occupied, agent.reserved)) if agent.reserved_containers else agent.occupied


def open_slots(agent: SchedulableAgent) -> SlotVector:
    """Return the slots neither occupied nor reserved; negative where more is claimed than the agent has."""
    return free_slots(agent.capacity, claimed_slots(agent))


def claimed_containers(agent: SchedulableAgent) -> int:
    """Count the containers of an agent that run or are reserved."""
    return agent.container_count + agent.reserved_containers


def slot_shortage(requested: SlotVector, free: SlotVector) -> Optional[SlotShortage]:
    """Check a request against free slots; vectors of unequal length are padded by 0."""
    missing = len(requested) - len(free)
    padded = free + (0,) * missing if missing > 0 else free
    short = first_short(wanted_slots(requested), padded)
    if short is None:
        return None
    return SlotShortage(short[0], requested=short[1], available=padded[short[0]])


def unknown_slot(requested: SlotVector, known_slots: frozenset[int]) -> Optional[SlotShortage]:
    """Check that every requested slot index has a slot type: no agent ever has any of another."""
    for index, amount in wanted_slots(requested):
        if index not in known_slots:
            return SlotShortage(index, requested=amount, available=0)
    return None


def container_limit(agent: SchedulableAgent) -> Optional[int]:
    """Return the most containers that an agent takes; None if nothing limits them.

    The counter of an agent without a limit has 31 bits, which no batch passes from below half of that.
    """
    if agent.max_containers is None and claimed_containers(agent) > MOST_CONTAINERS // 2:
        return MOST_CONTAINERS
    return agent.max_containers


def container_shortage(
    container_count: int, running: int, max_containers: Optional[int]
) -> Optional[ContainerShortage]:
    """Check ``container_count`` more containers beside the ``running`` ones; None is no limit."""
    if max_containers is None or not container_count or running + container_count <= max_containers:
        return None
    return ContainerShortage(requested=container_count, used=running, limit=max_containers)


def agent_obstacle(
    request: NodeRequest, designated_agent_ids: tuple[AgentId, ...], agent: SchedulableAgent, beside: Load
) -> Optional[AgentObstacle]:
    """Check a request against one agent: designation, architecture, containers, then slots by index.

    ``beside`` is the load to count besides what runs on the agent. No designated agents means any.
    """
    if designated_agent_ids and agent.agent_id not in designated_agent_ids:
        return NotDesignated(agent.agent_id, designated_agent_ids)
    for architecture in request.architectures:
        if architecture != agent.architecture:
            return ArchitectureMismatch(requested=architecture, available=agent.architecture)
    running = agent.container_count + beside.count
    free = free_slots(agent.capacity, total_slots((agent.occupied, beside.slots)))
    return container_shortage(request.container_count, running, container_limit(agent)) or slot_shortage(
        request.requested_slots, free
    )


def _sum_request(kernels: Sequence[PendingKernel]) -> NodeRequest:
    architectures = {kernel.architecture for kernel in kernels if kernel.architecture is not None}
    slots = total_slots(kernel.requested_slots for kernel in kernels)
    return NodeRequest(slots, len(kernels), tuple(sorted(architectures)))


def node_requests(cluster_mode: ClusterMode, kernels: tuple[PendingKernel, ...]) -> tuple[NodeRequest, ...]:
    """List a session's requests to agents: SINGLE_NODE one sum for one agent, MULTI_NODE one per kernel.

    Several requests may share an agent. A session without kernels has none, in either mode.
    """
    if cluster_mode is ClusterMode.SINGLE_NODE and len(kernels) > 1:
        return (_sum_request(kernels),)
    return tuple(
        NodeRequest(kernel.requested_slots, 1, () if kernel.architecture is None else (kernel.architecture,))
        for kernel in kernels
    )


def requests_by_agent(
    session: PendingSession, placed: Iterable[Union[KernelAllocation, ReservedKernel]]
) -> dict[AgentId, NodeRequest]:
    """Sum up a session's requests by agent for given places of its kernels."""
    kernel_of = {kernel.kernel_id: kernel for kernel in session.kernels}
    kernels: dict[AgentId, list[PendingKernel]] = {}
    for kernel in placed:
        kernels.setdefault(kernel.agent_id, []).append(kernel_of[kernel.kernel_id])
    return {agent_id: _sum_request(together) for agent_id, together in kernels.items()}


def limit_breach(
    kind: QuotaKind, slot_index: Optional[int], used: int, requested: int, limit: Optional[int]
) -> Optional[QuotaBreach]:
    """Check a request beside what an owner uses; a request of 0 breaches no limit, not even an exceeded one."""
    if limit is None or not requested or used + requested <= limit:
        return None
    return QuotaBreach(kind, slot_index, used, requested, limit)


def slot_limit_breach(
    requested: SlotVector, occupied: SlotVector, slot_limits: SlotLimits
) -> Optional[QuotaBreach]:
    """Check a session's slots beside what its owner occupies; 0 is a limit, None and missing are none."""
    for index, (amount, limit) in enumerate(zip(requested, slot_limits, strict=False)):
        if amount and limit is not None and amount_at(occupied, index) + amount > limit:
            return QuotaBreach(QuotaKind.SLOT, index, amount_at(occupied, index), amount, limit)
    return None


def unmet_dependency(dependencies: tuple[SessionDependency, ...]) -> Optional[SessionDependency]:
    """Find an unmet dependency: first one that can never be met, else the first not met yet."""
    unmet = [dependency for dependency in dependencies if not dependency.is_met]
    return min(unmet, key=attrgetter("can_be_met")) if unmet else None


def start_not_reached(
    requested_start_at: Optional[datetime], observed_at: datetime
) -> Optional[StartNotReached]:
    """Check a session's start time against the database's clock at the snapshot; an equal time is reached."""
    if requested_start_at is None or requested_start_at <= observed_at:
        return None
    return StartNotReached(requested_start_at, observed_at)
