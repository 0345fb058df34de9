"""The gate of status changes: which sessions of a batch may change, and what they give back, on locked rows."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple, Optional, Union

import msgspec

from scheduler_repo.entities.lifecycle import RejectedTransition, TransitionRejectionCode
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS, is_allowed
from scheduler_repo.errors import InvalidInput
from scheduler_repo.quoting import printable, quoted
from scheduler_repo.scheduling.admission.allocations import LockedSession
from scheduler_repo.scheduling.rules.feasibility import NO_LOAD, Load, free_slots, slot_shortage
from scheduler_repo.slots import slot_vector
from scheduler_repo.steps import Steps
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

# The counter of attempts has 31 bits.
_LAST_ATTEMPT: Final = 2**31 - 1


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


class KernelChange(NamedTuple):
    """A kernel as change_kernels.sql takes it, and what it gives back to its agent."""

    kernel_id: KernelId
    from_status: str
    exit_code: Optional[int] = None
    occupied_slots: Optional[SlotVector] = None
    given_back: Optional[tuple[AgentId, Load]] = None


class AgentCounters:
    """The counters of locked agents, and how much of them a batch gives back so far."""

    def __init__(self, slots: Mapping[AgentId, Mapping[int, int]], containers: Mapping[AgentId, int]) -> None:
        """``slots`` are occupied amounts by slot index, ``containers`` the number of running ones."""
        self._slots = slots
        self._containers = containers
        self.given_back: dict[AgentId, Load] = {}

    def give_back(self, pieces: Iterable[tuple[AgentId, Load]]) -> Optional[AgentId]:
        """Count all that one session gives back, or return the first agent whose counters are below it."""
        given: dict[AgentId, Load] = {}
        for agent_id, load in pieces:
            total = (given.get(agent_id) or self.given_back.get(agent_id, NO_LOAD)).plus(load)
            given[agent_id] = total
            occupied = self._slots.get(agent_id, {})
            if total.count > self._containers[agent_id] or any(
                amount > occupied.get(index, 0) for index, amount in enumerate(total.slots)
            ):
                return agent_id
        self.given_back.update(given)
        return None


class TransitionState(msgspec.Struct, frozen=True):
    """The locked rows that a batch is judged by.

    ``sessions`` without an entry do not exist, unless they are ``blocked``: another transaction has a row of
    theirs locked. ``kernels`` are those of the sessions that ``reject_status`` lets through.
    """

    sessions: Mapping[SessionId, LockedSession]
    kernels: Mapping[SessionId, Sequence[LockedKernel]]
    counters: AgentCounters
    slot_names: Sequence[SlotName]
    blocked: Mapping[SessionId, RowLocked] = {}


class TransitionDecisions(msgspec.Struct):
    """The changes that the gate lets through, in the order of the batch, and the sessions that it rejects."""

    accepted: dict[SessionId, SessionChange] = {}
    rejected: list[RejectedTransition] = []
    kernels: list[KernelChange] = []


def decide_transitions(
    target: StatusChange, changes: Sequence[SessionChange], state: TransitionState
) -> Steps[TransitionDecisions]:
    """Judge a batch in its order; ``state.counters`` then hold what all accepted sessions give back."""
    decisions = TransitionDecisions()
    seen: set[SessionId] = set()
    for change in changes:
        session = state.sessions.get(change.session_id)
        judged: Union[RejectedTransition, list[KernelChange]]
        if change.session_id in seen:
            judged = RejectedTransition(change.session_id, TransitionRejectionCode.DUPLICATE)
        elif change.session_id in state.blocked:
            judged = reject_blocked(change.session_id, state.blocked[change.session_id], session)
        elif session is None:
            judged = RejectedTransition(change.session_id, TransitionRejectionCode.SESSION_UNKNOWN)
        else:
            judged = reject_status(target, change.session_id, session) or _judge(target, change, session, state)
        seen.add(change.session_id)
        if isinstance(judged, RejectedTransition):
            decisions.rejected.append(judged)
        else:
            decisions.accepted[change.session_id] = change
            decisions.kernels.extend(judged)
        yield
    return decisions


def reject_blocked(
    session_id: SessionId, row: RowLocked, session: Optional[LockedSession] = None
) -> RejectedTransition:
    """Reject a session of which another transaction has a row locked."""
    code, status = TransitionRejectionCode.ROW_LOCKED, None if session is None else session.status
    return RejectedTransition(session_id, code, status, detail=row.describe(), locked=row)


def reject_status(
    target: StatusChange, session_id: SessionId, session: LockedSession
) -> Optional[RejectedTransition]:
    """Reject a session that may not change by its group and status alone; None if it may."""
    status = session.status
    if target.scaling_group not in (None, session.scaling_group):
        code = TransitionRejectionCode.OTHER_GROUP
        detail = f"it is in {session.scaling_group}, not in {target.scaling_group}"
    elif status is None:
        code = TransitionRejectionCode.UNKNOWN_WORD
        detail = "" if session.unreadable is None else session.unreadable.problem
    elif not is_allowed(SESSION_TRANSITIONS, status, target.to_status) or (
        target.only_from not in (None, status)
    ):
        code, detail = TransitionRejectionCode.NOT_ALLOWED, f"from {status} to {target.to_status}"
    else:
        return None
    return RejectedTransition(session_id, code, status, detail=detail)


def _judge(
    target: StatusChange, change: SessionChange, session: LockedSession, state: TransitionState
) -> Union[RejectedTransition, list[KernelChange]]:
    rejected = partial(RejectedTransition, change.session_id, status=session.status)
    attempt, now = change.retry_count, session.retry_count
    if attempt is not None and (type(attempt) is not int or attempt != now):
        detail = f"attempt {quoted(attempt)} was named, this is {now}"
        return rejected(code=TransitionRejectionCode.OTHER_ATTEMPT, detail=detail)
    if target.to_status is SessionStatus.PENDING and now >= _LAST_ATTEMPT:
        return rejected(code=TransitionRejectionCode.NO_ATTEMPT_LEFT, detail=f"this is attempt {now}")
    kernels = state.kernels.get(change.session_id, ())
    named = change.exit_codes.keys() | change.occupied_slots.keys()
    unknown = named.difference(kernel.kernel_id for kernel in kernels)
    if unknown:
        return rejected(code=TransitionRejectionCode.KERNEL_UNKNOWN, kernel_id=min(unknown, key=str))
    changed: list[KernelChange] = []
    for kernel in kernels:
        kernel_change = _change_kernel(target, kernel, change, state.slot_names)
        if not isinstance(kernel_change, KernelChange):
            code, detail = kernel_change
            return rejected(code=code, kernel_id=kernel.kernel_id, agent_id=kernel.agent_id, detail=detail)
        changed.append(kernel_change)
    drifted = state.counters.give_back(each.given_back for each in changed if each.given_back is not None)
    if drifted is not None:
        detail = "the counters are below what its kernels occupy; run: scheduler-repo audit"
        return rejected(code=TransitionRejectionCode.LEDGER_DRIFT, agent_id=drifted, detail=detail)
    return changed


def _change_kernel(
    target: StatusChange, kernel: LockedKernel, change: SessionChange, slot_names: Sequence[SlotName]
) -> Union[KernelChange, tuple[TransitionRejectionCode, str]]:
    """Return the change of a kernel, or the code and detail of its session's rejection."""
    exit_code = change.exit_codes.get(kernel.kernel_id)
    occupied: Optional[SlotVector] = None
    subject = f"kernel {kernel.kernel_id}"
    try:
        if exit_code is not None:
            check_range(exit_code, Int32, f"{subject}, exit code")
        if kernel.kernel_id in change.occupied_slots:
            occupied = slot_vector(change.occupied_slots[kernel.kernel_id], slot_names, subject)
    except InvalidInput as error:
        return TransitionRejectionCode.INVALID_AMOUNT, printable(str(error))
    if occupied is not None:
        excess = slot_shortage(occupied, tuple(kernel.requested_slots))
        if excess is not None:
            slot_name = slot_names[excess.slot_index]
            detail = f"slot {slot_name}: occupies {excess.requested}, requested {excess.available}"
            return TransitionRejectionCode.ABOVE_REQUEST, detail
    given_back: Optional[tuple[AgentId, Load]] = None
    if kernel.agent_id is not None and kernel.status in OCCUPYING_STATUSES:
        before = tuple(kernel.occupied_slots)
        if target.to_status not in OCCUPYING_STATUSES:
            given_back = kernel.agent_id, Load(before, 1)
        elif occupied is not None:
            given_back = kernel.agent_id, Load(free_slots(before, occupied), 0)
    return KernelChange(kernel.kernel_id, kernel.status, exit_code, occupied, given_back)
