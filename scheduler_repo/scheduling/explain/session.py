"""Explains one pending session in full: what blocks it, how near it comes to fitting, its quotas, its turn.

Every verdict comes from the checks of the planner and the write gate; this module only takes them apart, slot
by slot and owner by owner. Amounts are whole numbers in each slot's smallest unit.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Optional

import msgspec

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.obstacles import ArchitectureMismatch, NotDesignated, QuotaKind
from scheduler_repo.entities.scheduling_data import (
    AnyOwnerUsage,
    DependencyState,
    PendingSession,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import Snapshot
from scheduler_repo.errors import SessionNotFound, UnknownWord
from scheduler_repo.scheduling.explain.placed import with_placed
from scheduler_repo.scheduling.explain.reasons import WaitingReason, WaitingSession, waiting_reason
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner, in_turn
from scheduler_repo.scheduling.rules.feasibility import (
    Load,
    NodeRequest,
    agent_obstacle,
    amount_at,
    claimed_containers,
    container_limit,
    limit_breach,
    node_requests,
    open_slots,
    start_not_reached,
    total_slots,
    wanted_slots,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import reserved_places
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    OwnerScope,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
)
from scheduler_repo.validation import check_id


class ResourceFit(msgspec.Struct, frozen=True, gc=False):
    """How one requested slot, or the containers (``slot_index`` None), fit on the candidate agents.

    ``most_free`` is the free amount of the best agent (the first by id): negative if it is over its capacity,
    None if its containers are not limited. ``missing`` is what that agent lacks, or 0. Without candidates there
    is no best agent and the whole request is missing.
    """

    slot_index: Optional[int]
    requested: int
    fitting_agents: int
    most_free: Optional[int]
    best_agent_id: Optional[AgentId]
    missing: int


class NodeFit(msgspec.Struct, frozen=True, gc=False):
    """A request to one agent, and how well it fits on each candidate now.

    The candidates (``agents_in_question``) are the designated agents, if any, of the requested architecture;
    ``fitting_agents`` of them hold the whole request. Reserved room is not free, not even for the session
    itself. Kernels of a MULTI_NODE session with equal requests share one NodeFit; each needs the request once.
    ``resources`` are the requested slots by index, then the containers.
    """

    kernel_indexes: tuple[int, ...]
    request: NodeRequest
    agents_in_question: int
    fitting_agents: int
    resources: tuple[ResourceFit, ...]


class DesignatedAgent(msgspec.Struct, frozen=True, gc=False):
    """An agent that the session designates, and whether it takes kernels in this group."""

    agent_id: AgentId
    takes_kernels: bool


class LimitCheck(msgspec.Struct, frozen=True, gc=False):
    """One limit of an owner, and whether the session passes it; ``slot_index`` is set for slots only."""

    kind: QuotaKind
    slot_index: Optional[int]
    used: int
    requested: int
    limit: int
    passes: bool


class OwnerCheck(msgspec.Struct, frozen=True, gc=False):
    """One of the session's four owners with its limits; ``owner_id`` is a UUID or a name as text."""

    scope: OwnerScope
    owner_id: str
    resource_policy: Optional[ResourcePolicyName]
    limits: tuple[LimitCheck, ...]


class DependencyCheck(DependencyState, frozen=True, gc=False):
    """A session that must succeed first, and whether it has, or may still."""

    is_met: bool
    can_be_met: bool


class QueuePlace(msgspec.Struct, frozen=True, gc=False):
    """The session's place among the pending sessions that were read; ``rank`` 1 is the first.

    ``age`` is from ``created_at`` to the snapshot. With a ``pending_limit`` more sessions may wait behind.
    """

    rank: int
    pending_count: int
    pending_limit: Optional[int]
    priority: int
    created_at: datetime
    age: timedelta
    requested_start_at: Optional[datetime]
    is_start_reached: bool


class QueueTurn(msgspec.Struct, frozen=True, gc=False):
    """The place of one session in BestFitPlanner's plan of the whole queue.

    ``placed_before`` counts the sessions placed before it: those ahead of it in the queue and all with a
    reservation. Then either it is placed (``allocation``), or they have taken what it needs and ``lacks`` says
    what is missing then: PLACEABLE only if its kernels differ, as a plan does not retry a request it missed.
    """

    placed_before: int
    allocation: Optional[SessionAllocation]
    lacks: Optional[WaitingSession]


class SessionExplanation(msgspec.Struct, frozen=True, gc=False):
    """Why one session waits, with every figure that matters, all of one instant.

    ``waiting`` is the first obstacle, judged as if the session were first in the queue; ``turn`` is set if
    there is none (PLACEABLE). ``nodes`` are ordered by their first kernel, ``owners`` as OwnerScope.
    """

    session_id: SessionId
    name: str
    scaling_group: ScalingGroupName
    observed_at: datetime
    snapshot: Snapshot
    slot_types: tuple[SlotType, ...]
    cluster_mode: ClusterMode
    waiting: WaitingSession
    agent_count: int
    designated_agents: tuple[DesignatedAgent, ...]
    nodes: tuple[NodeFit, ...]
    owners: tuple[OwnerCheck, ...]
    dependencies: tuple[DependencyCheck, ...]
    place: QueuePlace
    turn: Optional[QueueTurn]


def explain_session(data: SchedulingData, session_id: SessionId) -> SessionExplanation:
    """Explain one pending session of a snapshot by the checks of the planner and the write gate.

    Raises SessionNotFound if it is not among the pending sessions of ``data``, InvalidInput for a malformed id
    and for an owner that is missing there. Cost: an index of the agents, and a pass over them for each
    different request of the session; where it would fit if it were first, a plan of the queue up to it too.
    """
    rank, session = _find(data, session_id)
    waiting = waiting_reason(data, session)
    known_agents = {agent.agent_id for agent in data.agents}
    return SessionExplanation(
        session_id=session.session_id,
        name=session.name,
        scaling_group=data.scaling_group.name,
        observed_at=data.observed_at,
        snapshot=data.token.snapshot,
        slot_types=data.slot_types,
        cluster_mode=session.cluster_mode,
        waiting=waiting,
        agent_count=len(data.agents),
        designated_agents=tuple(
            DesignatedAgent(each, each in known_agents) for each in session.designated_agent_ids
        ),
        nodes=_nodes(data, session),
        owners=_owners(data, session),
        dependencies=tuple(
            DependencyCheck(each.depends_on, each.status, each.result, each.is_met, each.can_be_met)
            for each in session.dependencies
        ),
        place=QueuePlace(
            rank=rank,
            pending_count=len(data.pending_sessions),
            pending_limit=data.pending_limit,
            priority=session.priority,
            created_at=session.created_at,
            age=data.observed_at - session.created_at,
            requested_start_at=session.requested_start_at,
            is_start_reached=start_not_reached(session.requested_start_at, data.observed_at) is None,
        ),
        turn=_queue_turn(data, session) if waiting.reason is WaitingReason.PLACEABLE else None,
    )


def _find(data: SchedulingData, session_id: SessionId) -> tuple[int, PendingSession]:
    check_id(session_id, "session")
    for rank, session in enumerate(data.pending_sessions, start=1):
        if session.session_id == session_id:
            return rank, session
    for row in data.unreadable:
        if row.entity_id == str(session_id):
            raise UnknownWord(f"session {session_id} is left out of every tick of this version: {row.problem}")
    bound = "" if data.pending_limit is None else f", of which the first {data.pending_limit} were read"
    raise SessionNotFound(
        f"session {session_id} is not pending in the scaling group {data.scaling_group.name!r}{bound}, at "
        f"{data.observed_at.isoformat()}; see of which group it is, and what became of it",
        session_id=session_id,
    )


def _nodes(data: SchedulingData, session: PendingSession) -> tuple[NodeFit, ...]:
    indexes = tuple(kernel.kernel_index for kernel in session.kernels)
    requests = node_requests(session.cluster_mode, session.kernels)
    # One request of all kernels together, or one per kernel.
    kernels_of = dict.fromkeys(requests, indexes)
    if len(requests) > 1:
        for each in kernels_of:
            kernels_of[each] = tuple(i for i, request in zip(indexes, requests, strict=True) if request == each)
    return tuple(_node_fit(kernels, request, session, data) for request, kernels in kernels_of.items())


def _node_fit(
    kernel_indexes: tuple[int, ...], request: NodeRequest, session: PendingSession, data: SchedulingData
) -> NodeFit:
    candidates: list[SchedulableAgent] = []
    fitting_agents = 0
    for agent in data.agents:
        reserved = Load(agent.reserved, agent.reserved_containers)
        obstacle = agent_obstacle(request, session.designated_agent_ids, agent, reserved)
        if not isinstance(obstacle, (NotDesignated, ArchitectureMismatch)):
            candidates.append(agent)
            fitting_agents += obstacle is None
    free = [(agent.agent_id, open_slots(agent)) for agent in candidates]
    slots = [
        _resource_fit(index, amount, [(agent_id, amount_at(vector, index)) for agent_id, vector in free])
        for index, amount in wanted_slots(request.requested_slots)
    ]
    rooms = [
        (each.agent_id, None if (most := container_limit(each)) is None else most - claimed_containers(each))
        for each in candidates
    ]
    resources = (*slots, _resource_fit(None, request.container_count, rooms))
    return NodeFit(kernel_indexes, request, len(candidates), fitting_agents, resources)


def _resource_fit(
    slot_index: Optional[int], requested: int, rooms: Sequence[tuple[AgentId, Optional[int]]]
) -> ResourceFit:
    """Find the agent with the most room, None being no limit."""
    if not rooms:
        return ResourceFit(slot_index, requested, 0, None, None, missing=requested)
    fitting_agents = sum(room is None or requested <= room for _, room in rooms)
    agent_id, most = max(rooms, key=lambda each: (each[1] is None, each[1] or 0))
    missing = 0 if fitting_agents or most is None else requested - most
    return ResourceFit(slot_index, requested, fitting_agents, most, agent_id, missing)


def _owners(data: SchedulingData, session: PendingSession) -> tuple[OwnerCheck, ...]:
    return tuple(
        OwnerCheck(
            account.scope,
            str(account.usage.owner_id),
            account.usage.resource_policy,
            _limits(account.usage, session),
        )
        for account in OwnerLedger(data).accounts(session)
    )


def _limits(usage: AnyOwnerUsage, session: PendingSession) -> tuple[LimitCheck, ...]:
    requested = total_slots(kernel.requested_slots for kernel in session.kernels)
    figures: list[tuple[QuotaKind, Optional[int], int, int, Optional[int]]] = [
        (QuotaKind.KERNELS_PER_SESSION, None, 0, len(session.kernels), usage.max_kernels_per_session),
        (QuotaKind.CONCURRENT_SESSIONS, None, usage.session_count, 1, usage.max_concurrent_sessions),
        *(
            (QuotaKind.SLOT, index, amount_at(usage.occupied, index), amount_at(requested, index), limit)
            for index, limit in enumerate(usage.slot_limits)
        ),
    ]
    return tuple(
        LimitCheck(kind, index, used, asked, limit, limit_breach(kind, index, used, asked, limit) is None)
        for kind, index, used, asked, limit in figures
        if limit is not None
    )


def _queue_turn(data: SchedulingData, session: PendingSession) -> QueueTurn:
    """Plan the queue of a snapshot as a tick would, up to one pending session."""
    order = [each.session_id for each in in_turn(data, reserved_places(data))]
    turn = order.index(session.session_id)
    plan = BestFitPlanner(max_allocations=turn + 1).plan(data)
    before_ids = set(order[:turn])
    before = [allocation for allocation in plan if allocation.session_id in before_ids]
    for allocation in plan:
        if allocation.session_id == session.session_id:
            return QueueTurn(len(before), allocation, None)
    return QueueTurn(len(before), None, waiting_reason(with_placed(data, before), session))
