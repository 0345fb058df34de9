"""Finds why each pending session waits: the first obstacle to placing it on this snapshot."""

import enum
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import zip_longest
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.obstacles import HoldNotFree, OwnerBreach, QuotaKind, SlotShortage, StartNotReached
from scheduler_repo.entities.scheduling_data import (
    DependencyState,
    PendingSession,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.scheduling.planner.capacity_index import CapacityIndex
from scheduler_repo.scheduling.planner.placer import SessionPlacer, SessionRequest, allocations
from scheduler_repo.scheduling.rules.feasibility import (
    NodeRequest,
    claimed_containers,
    container_limit,
    open_slots,
    start_not_reached,
    unknown_slot,
    unmet_dependency,
    wanted_slots,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import reserved_places
from scheduler_repo.types import AgentId, Architecture, ScalingGroupName, SessionId, SlotVector


class WaitingReason(enum.StrEnum):
    """Why a session waits, in the order of the checks."""

    GROUP_INACTIVE = "GROUP_INACTIVE"
    NO_KERNELS = "NO_KERNELS"
    UNKNOWN_SLOT = "UNKNOWN_SLOT"
    START_NOT_REACHED = "START_NOT_REACHED"
    DEPENDENCY_CANNOT_BE_MET = "DEPENDENCY_CANNOT_BE_MET"
    DEPENDENCY_NOT_MET = "DEPENDENCY_NOT_MET"
    TOO_MANY_KERNELS = "TOO_MANY_KERNELS"
    SESSION_QUOTA = "SESSION_QUOTA"
    SLOT_QUOTA = "SLOT_QUOTA"
    RESERVED = "RESERVED"
    NO_AGENT = "NO_AGENT"
    DESIGNATED_AGENTS_UNAVAILABLE = "DESIGNATED_AGENTS_UNAVAILABLE"
    NO_AGENT_OF_ARCHITECTURE = "NO_AGENT_OF_ARCHITECTURE"
    LARGER_THAN_ANY_AGENT = "LARGER_THAN_ANY_AGENT"
    NOT_ENOUGH_FREE = "NOT_ENOUGH_FREE"
    KERNELS_DO_NOT_FIT_TOGETHER = "KERNELS_DO_NOT_FIT_TOGETHER"
    PLACEABLE = "PLACEABLE"


class GroupInactive(msgspec.Struct, frozen=True, gc=False, tag=True):
    """The scaling group is switched off: its sessions wait."""

    scaling_group: ScalingGroupName


class UnmetDependency(DependencyState, frozen=True, gc=False, tag=True):
    """A session that must succeed first, and has not."""


class DesignatedUnavailable(msgspec.Struct, frozen=True, gc=False, tag=True):
    """None of the designated agents takes kernels."""

    designated_agent_ids: tuple[AgentId, ...]


class ArchitectureUnavailable(msgspec.Struct, frozen=True, gc=False, tag=True):
    """No candidate agent has all of the requested architectures; ``available`` are those they have, ordered."""

    requested: tuple[Architecture, ...]
    available: tuple[Architecture, ...]


class BestAvailable(msgspec.Struct, frozen=True, gc=False):
    """A requested slot and the largest amount of it on any one candidate agent."""

    slot_index: int
    requested: int
    available: int


class NodeShortage(msgspec.Struct, frozen=True, gc=False, tag=True):
    """No single candidate agent holds the whole request.

    Candidates are the designated agents, if any, of the requested architecture. ``slots`` lists the requested
    slots by index; the best of each may be on different agents. ``container_room`` is the most containers that
    one agent still takes (of an empty cluster, for LARGER_THAN_ANY_AGENT), None if one has no limit.
    """

    slots: tuple[BestAvailable, ...]
    container_count: int
    container_room: Optional[int]


class JointShortage(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Best fit, largest kernel first, found agents for ``placed_count`` kernels and none for the next.

    ``is_proven`` is True if all kernels request the same: then no placement exists. If they differ, another
    choice of agents might hold them all.
    """

    kernel_count: int
    placed_count: int
    is_proven: bool


class PossiblePlacement(msgspec.Struct, frozen=True, gc=False, tag=True):
    """Where the session's kernels would fit now if it were placed first."""

    kernels: tuple[KernelAllocation, ...]


WaitingDetail = Union[
    GroupInactive,
    SlotShortage,
    StartNotReached,
    UnmetDependency,
    OwnerBreach,
    HoldNotFree,
    DesignatedUnavailable,
    ArchitectureUnavailable,
    NodeShortage,
    JointShortage,
    PossiblePlacement,
]


class WaitingSession(msgspec.Struct, frozen=True, gc=False):
    """Why one session waits.

    ``kernel_index`` is set where the reason is about one kernel of several. ``detail`` is None for NO_KERNELS
    and NO_AGENT.
    """

    session_id: SessionId
    reason: WaitingReason
    kernel_index: Optional[int]
    detail: Optional[WaitingDetail]


_Designated = tuple[AgentId, ...]
_Architectures = tuple[Architecture, ...]

# A reason, the position of the kernel that it is about, and the detail.
_Verdict = tuple[WaitingReason, Optional[int], Optional[WaitingDetail]]
_RANK = {reason: rank for rank, reason in enumerate(WaitingReason)}
_QUOTA_REASONS = {
    QuotaKind.KERNELS_PER_SESSION: WaitingReason.TOO_MANY_KERNELS,
    QuotaKind.CONCURRENT_SESSIONS: WaitingReason.SESSION_QUOTA,
    QuotaKind.SLOT: WaitingReason.SLOT_QUOTA,
}


def waiting_reasons(data: SchedulingData) -> tuple[WaitingSession, ...]:
    """Explain each pending session, in queue order, on this snapshot.

    Each is judged alone, as if no session before it were placed: PLACEABLE means that a plan would place it if
    it came to it with the capacity and quotas of the snapshot. A session with a reservation is RESERVED until
    its reserved room is free, even if it would fit elsewhere: it is placed nowhere else. Of several kernels,
    the one with the earliest reason in the order of WaitingReason is named. Every reason but RESERVED, and
    KERNELS_DO_NOT_FIT_TOGETHER without ``is_proven``, proves that no placement exists.

    Raises InvalidInput if an owner of a session is missing in ``data``. Cost: as a plan that places nothing;
    equal requests are judged once.
    """
    judge = _Judge(data)
    return tuple(judge.explain(session) for session in data.pending_sessions)


def waiting_reason(data: SchedulingData, session: PendingSession) -> WaitingSession:
    """Explain one pending session of ``data`` as ``waiting_reasons`` does; raises the same errors.

    Cost: an index of the agents.
    """
    return _Judge(data).explain(session)


class _Judge:
    """Judges the sessions of one snapshot, and remembers the verdict on each request."""

    def __init__(self, data: SchedulingData) -> None:
        self._data = data
        self._known_slots = frozenset(slot_type.slot_index for slot_type in data.slot_types)
        self._ledger = OwnerLedger(data)
        self._places = reserved_places(data)
        self._free = CapacityIndex(data)
        self._placer = SessionPlacer(self._free)
        self._shortages = _Shortages(data)
        # Where a request fits, or why it does not.
        self._answers: dict[SessionRequest, Union[list[AgentId], _Verdict]] = {}

    def explain(self, session: PendingSession) -> WaitingSession:
        reason, position, detail = (
            self._before_capacity(session) or self._by_reservation(session) or self._by_capacity(session)
        )
        kernel_index = None
        if position is not None and len(session.kernels) > 1:
            kernel_index = session.kernels[position].kernel_index
        return WaitingSession(session.session_id, reason, kernel_index, detail)

    def _before_capacity(self, session: PendingSession) -> Optional[_Verdict]:
        group = self._data.scaling_group
        if not group.is_active:
            return WaitingReason.GROUP_INACTIVE, None, GroupInactive(group.name)
        if not session.kernels:
            return WaitingReason.NO_KERNELS, None, None
        for position, kernel in enumerate(session.kernels):
            unknown = unknown_slot(kernel.requested_slots, self._known_slots)
            if unknown is not None:
                return WaitingReason.UNKNOWN_SLOT, position, unknown
        start = start_not_reached(session.requested_start_at, self._data.observed_at)
        if start is not None:
            return WaitingReason.START_NOT_REACHED, None, start
        unmet = unmet_dependency(session.dependencies)
        if unmet is not None:
            can_be_met = unmet.can_be_met
            reason = WaitingReason.DEPENDENCY_NOT_MET if can_be_met else WaitingReason.DEPENDENCY_CANNOT_BE_MET
            return reason, None, UnmetDependency(**msgspec.structs.asdict(unmet))
        breach = self._ledger.breach(session, self._placer.request(session).slots)
        if breach is not None:
            return _QUOTA_REASONS[breach.breach.kind], None, breach
        return None

    def _by_reservation(self, session: PendingSession) -> Optional[_Verdict]:
        place = self._places.get(session.session_id) if self._places else None
        if place is None:
            return None
        if place.obstacle is not None:
            return WaitingReason.RESERVED, None, place.obstacle
        return WaitingReason.PLACEABLE, None, PossiblePlacement(place.kernels)

    def _by_capacity(self, session: PendingSession) -> _Verdict:
        wanted = self._placer.request(session)
        answer = self._answers.get(wanted)
        if answer is None:
            placement = self._placer.place(wanted)
            answer = placement.agent_ids
            if answer is None:
                answer = self._unplaced(wanted, len(placement.states))
            else:
                self._placer.take_back(placement.states)
            self._answers[wanted] = answer
        if isinstance(answer, tuple):
            return answer
        possible = PossiblePlacement(allocations(session, answer))
        return WaitingReason.PLACEABLE, None, possible

    def _unplaced(self, wanted: SessionRequest, placed_count: int) -> _Verdict:
        requests, designated = wanted.requests, wanted.designated_agent_ids
        alone: dict[NodeRequest, _Verdict] = {}
        for position, request in enumerate(requests):
            if request not in alone and (len(requests) == 1 or self._free.find(request, designated) is None):
                reason, detail = self._shortages.explain(request, designated)
                alone[request] = reason, position if len(requests) > 1 else None, detail
        if alone:
            return min(alone.values(), key=lambda verdict: _RANK[verdict[0]])
        joint = JointShortage(len(requests), placed_count, is_proven=len(set(requests)) == 1)
        return WaitingReason.KERNELS_DO_NOT_FIT_TOGETHER, None, joint


class _Shortages:
    """Explains why a single request finds no agent; keeps the figures per set of candidates."""

    def __init__(self, data: SchedulingData) -> None:
        self._agents = {agent.agent_id: agent for agent in data.agents}
        self._candidates = cache(partial(_find_candidates, self._agents))
        self._most = cache(partial(_find_most, self._candidates, len(data.slot_types)))
        self._empty_cluster = cache(partial(CapacityIndex, data, empty=True))

    def explain(
        self, request: NodeRequest, designated: _Designated
    ) -> tuple[WaitingReason, Optional[WaitingDetail]]:
        """Explain a request for which ``CapacityIndex.find`` found no agent."""
        if not self._agents:
            return WaitingReason.NO_AGENT, None
        designation = self._candidates((), designated)
        if not designation:
            return WaitingReason.DESIGNATED_AGENTS_UNAVAILABLE, DesignatedUnavailable(designated)
        if not self._candidates(request.architectures, designated):
            available = tuple(sorted({agent.architecture for agent in designation}))
            unavailable = ArchitectureUnavailable(request.architectures, available)
            return WaitingReason.NO_AGENT_OF_ARCHITECTURE, unavailable
        too_large = self._empty_cluster().find(request, designated) is None
        most, room = self._most(request.architectures, designated, too_large)
        slots = tuple(
            BestAvailable(slot, amount, most[slot]) for slot, amount in wanted_slots(request.requested_slots)
        )
        reason = WaitingReason.LARGER_THAN_ANY_AGENT if too_large else WaitingReason.NOT_ENOUGH_FREE
        return reason, NodeShortage(slots, request.container_count, room)


def _find_candidates(
    agents: Mapping[AgentId, SchedulableAgent], architectures: _Architectures, designated: _Designated
) -> list[SchedulableAgent]:
    found = [agents[each] for each in designated if each in agents] if designated else agents.values()
    return [agent for agent in found if all(agent.architecture == each for each in architectures)]


def _find_most(
    candidates: Callable[[_Architectures, _Designated], list[SchedulableAgent]],
    width: int,
    architectures: _Architectures,
    designated: _Designated,
    empty: bool,
) -> tuple[SlotVector, Optional[int]]:
    """Return the most of each slot, and of container room, on any one candidate: below 0 if all overcommit."""
    agents = candidates(architectures, designated)
    # The row of zeros is no candidate: it gives every known slot a figure. A vector can be longer than the
    # known slots: kernels may name others, with an amount of 0.
    vectors = [agent.capacity if empty else open_slots(agent) for agent in agents]
    slots = tuple(max(free) for _, *free in zip_longest((0,) * width, *vectors, fillvalue=0))
    rooms = [
        most - (0 if empty else claimed_containers(agent))
        for agent in agents
        if (most := container_limit(agent)) is not None
    ]
    return slots, max(rooms) if len(rooms) == len(agents) else None
