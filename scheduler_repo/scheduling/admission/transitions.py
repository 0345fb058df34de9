"""The gate of status changes: which sessions of a batch may change, and what they give back, on locked rows."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Optional, Union

import msgspec

from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.scheduling.admission.allocations import LockedSession
from scheduler_repo.scheduling.rules.feasibility import free_slots, slot_shortage, total_slots
from scheduler_repo.slots import slot_vector
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    KernelId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotName,
    SlotVector,
)
from scheduler_repo.validation import Int32, check_range


class StatusChange(msgspec.Struct, frozen=True):
    """The change of status that a whole batch asks for.

    ``only_from`` rejects sessions of any other status, ``scaling_group`` those of any other group.
    """

    to_status: SessionStatus
    reason: Optional[str] = None
    only_from: Optional[SessionStatus] = None
    scaling_group: Optional[ScalingGroupName] = None

    @property
    def may_free_agents(self) -> bool:
        """Whether kernels give something back: all when they end, or what RUNNING ones do not occupy."""
        return self.to_status not in OCCUPYING_STATUSES or self.to_status is SessionStatus.RUNNING


class SessionChange(msgspec.Struct, frozen=True):
    """One session of a batch, and what is stored of it besides its status."""

    session_id: SessionId
    result: Optional[SessionResult] = None
    exit_codes: Mapping[KernelId, int] = {}
    occupied_slots: Mapping[KernelId, Mapping[SlotName, int]] = {}
    failed_agent_ids: tuple[AgentId, ...] = ()
    retry_count: Optional[int] = None


class LockedKernel(NamedTuple):
    """A kernel of a locked session, as session_kernels.sql answers it."""

    session_id: SessionId
    kernel_id: KernelId
    status: str
    agent_id: Optional[AgentId]
    requested_slots: list[int]
    occupied_slots: list[int]


class GivenBack(msgspec.Struct, frozen=True):
    """The amounts that one kernel gives back to its agent."""

    agent_id: AgentId
    slots: SlotVector
    containers: int


class KernelChange(NamedTuple):
    """A kernel as change_kernels.sql takes it, and the amounts that it gives back."""

    kernel_id: KernelId
    from_status: str
    exit_code: Optional[int] = None
    occupied_slots: Optional[SlotVector] = None
    given_back: Optional[GivenBack] = None


class AgentCounters:
    """The counters of locked agents, and how much of them a batch gives back so far."""

    def __init__(self, slots: Mapping[AgentId, Mapping[int, int]], containers: Mapping[AgentId, int]) -> None:
        """``slots`` are occupied amounts by slot index, ``containers`` the number of running ones."""
        self._slots = slots
        self._containers = containers
        self.given_slots: dict[AgentId, SlotVector] = {}
        self.given_containers: dict[AgentId, int] = {}

    def give_back(self, pieces: Sequence[GivenBack]) -> Optional[AgentId]:
        """Count all that one session gives back, or return the first agent whose counters are below it."""
        slots: dict[AgentId, SlotVector] = {}
        containers: dict[AgentId, int] = {}
        for piece in pieces:
            agent_id = piece.agent_id
            given = slots.get(agent_id) or self.given_slots.get(agent_id, ())
            slots[agent_id] = total_slots((given, piece.slots))
            count = containers.get(agent_id) or self.given_containers.get(agent_id, 0)
            containers[agent_id] = count + piece.containers
            occupied = self._slots.get(agent_id, {})
            if containers[agent_id] > self._containers[agent_id] or any(
                amount > occupied.get(index, 0) for index, amount in enumerate(slots[agent_id])
            ):
                return agent_id
        self.given_slots.update(slots)
        self.given_containers.update(containers)
        return None


class TransitionState(msgspec.Struct, frozen=True):
    """The locked rows that a batch is judged by.

    ``sessions`` without an entry do not exist; ``kernels`` are those of the sessions that ``status_rejection``
    lets through.
    """

    sessions: Mapping[SessionId, LockedSession]
    kernels: Mapping[SessionId, Sequence[LockedKernel]]
    counters: AgentCounters
    slot_names: Sequence[SlotName]


class TransitionDecisions(msgspec.Struct):
    """The changes that the gate lets through, in the order of the batch, and the sessions that it rejects."""

    accepted: dict[SessionId, SessionChange] = {}
    rejected: list[RejectedTransition] = []
    kernels: list[KernelChange] = []


def decide_transitions(
    target: StatusChange, changes: Sequence[SessionChange], state: TransitionState
) -> TransitionDecisions:
    """Judge a batch in its order; ``state.counters`` then hold what all accepted sessions give back."""
    decisions = TransitionDecisions()
    seen: set[SessionId] = set()
    for change in changes:
        session_id = change.session_id
        judged: Union[RejectedTransition, list[KernelChange]]
        if session_id in seen:
            judged = RejectedTransition(session_id, TransitionRejectionCode.DUPLICATE)
        else:
            judged = _judge(target, change, state)
        seen.add(session_id)
        if isinstance(judged, RejectedTransition):
            decisions.rejected.append(judged)
        else:
            decisions.accepted[session_id] = change
            decisions.kernels.extend(judged)
    return decisions


def status_rejection(
    target: StatusChange, session_id: SessionId, session: LockedSession
) -> Optional[RejectedTransition]:
    """Check whether a session may change by its group and status alone; None if it may."""
    status = session.status
    if target.scaling_group not in (None, session.scaling_group):
        return RejectedTransition(
            session_id,
            TransitionRejectionCode.OTHER_GROUP,
            status,
            detail=f"it is in {session.scaling_group}, not in {target.scaling_group}",
        )
    allowed = is_allowed(SESSION_TRANSITIONS, status, target.to_status)
    if not allowed or target.only_from not in (None, status):
        return RejectedTransition(
            session_id,
            TransitionRejectionCode.NOT_ALLOWED,
            status,
            detail=f"from {status} to {target.to_status}",
        )
    return None


def _judge(
    target: StatusChange, change: SessionChange, state: TransitionState
) -> Union[RejectedTransition, list[KernelChange]]:
    session_id, session = change.session_id, state.sessions.get(change.session_id)
    if session is None:
        return RejectedTransition(session_id, TransitionRejectionCode.SESSION_UNKNOWN)
    rejection = status_rejection(target, session_id, session)
    if rejection is not None:
        return rejection
    attempt, now = change.retry_count, session.retry_count
    if attempt is not None and (type(attempt) is not int or attempt != now):
        return RejectedTransition(
            session_id,
            TransitionRejectionCode.OTHER_ATTEMPT,
            session.status,
            detail=f"attempt {quoted(attempt)} was named, this is {now}",
        )
    kernels = state.kernels.get(session_id, ())
    unknown = (change.exit_codes.keys() | change.occupied_slots.keys()).difference(
        kernel.kernel_id for kernel in kernels
    )
    if unknown:
        return RejectedTransition(
            session_id,
            TransitionRejectionCode.KERNEL_UNKNOWN,
            session.status,
            kernel_id=min(unknown, key=str),
        )
    changed: list[KernelChange] = []
    for kernel in kernels:
        kernel_change = _change_kernel(target, kernel, change, state.slot_names)
        if isinstance(kernel_change, RejectedTransition):
            return msgspec.structs.replace(kernel_change, status=session.status)
        changed.append(kernel_change)
    drifted = state.counters.give_back([each.given_back for each in changed if each.given_back is not None])
    if drifted is not None:
        return RejectedTransition(
            session_id,
            TransitionRejectionCode.LEDGER_DRIFT,
            session.status,
            agent_id=drifted,
            detail="the counters are below what its kernels occupy; run: scheduler-repo audit",
        )
    return changed


def _change_kernel(
    target: StatusChange, kernel: LockedKernel, change: SessionChange, slot_names: Sequence[SlotName]
) -> Union[KernelChange, RejectedTransition]:
    def rejected(code: TransitionRejectionCode, detail: str) -> RejectedTransition:
        return RejectedTransition(
            change.session_id, code, kernel_id=kernel.kernel_id, agent_id=kernel.agent_id, detail=detail
        )

    exit_code = change.exit_codes.get(kernel.kernel_id)
    occupied: Optional[SlotVector] = None
    subject = f"kernel {kernel.kernel_id}"
    try:
        if exit_code is not None:
            check_range(exit_code, Int32, f"{subject}, exit code")
        if kernel.kernel_id in change.occupied_slots:
            occupied = slot_vector(change.occupied_slots[kernel.kernel_id], slot_names, subject)
    except InvalidInput as error:
        return rejected(TransitionRejectionCode.INVALID_AMOUNT, printable(str(error)))
    if occupied is not None:
        excess = slot_shortage(occupied, tuple(kernel.requested_slots))
        if excess is not None:
            return rejected(
                TransitionRejectionCode.ABOVE_REQUEST,
                f"slot {slot_names[excess.slot_index]}: occupies {excess.requested}, "
                f"requested {excess.available}",
            )
    given_back = _give_back(target, kernel, occupied)
    return KernelChange(kernel.kernel_id, kernel.status, exit_code, occupied, given_back)


def _give_back(
    target: StatusChange, kernel: LockedKernel, occupied: Optional[SlotVector]
) -> Optional[GivenBack]:
    if kernel.agent_id is None or kernel.status not in OCCUPYING_STATUSES:
        return None
    before = tuple(kernel.occupied_slots)
    if target.to_status not in OCCUPYING_STATUSES:
        return GivenBack(kernel.agent_id, before, 1)
    return None if occupied is None else GivenBack(kernel.agent_id, free_slots(before, occupied), 0)
