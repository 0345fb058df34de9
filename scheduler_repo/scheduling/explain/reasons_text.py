"""Writes the reason why a session waits as one line of text."""

from collections.abc import Iterable

from scheduler_repo.entities.obstacles import (
    ArchitectureMismatch,
    ContainerShortage,
    HoldNotFree,
    NotDesignated,
    OwnerBreach,
    QuotaBreach,
    QuotaKind,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.scheduling.explain.reasons import (
    ArchitectureUnavailable,
    DesignatedUnavailable,
    GroupInactive,
    JointShortage,
    NodeShortage,
    PossiblePlacement,
    UnmetDependency,
    WaitingDetail,
    WaitingReason,
    WaitingSession,
)
from scheduler_repo.slots import format_quantity

_NAMED_AGENTS = 3


def describe(waiting: WaitingSession, data: SchedulingData) -> str:
    """Write in one line why a session waits; ``data`` is the snapshot in which the reason was found.

    Amounts are decimals of whole units, such as ``0.5`` of a GPU; a slot index without a slot type is shown as
    it is.
    """
    if waiting.detail is None:
        without = {
            WaitingReason.NO_KERNELS: "the session has no kernels to place",
            WaitingReason.NO_AGENT: "the scaling group has no agent that takes kernels",
        }
        return without[waiting.reason]
    text = _Wording(data).word(waiting.detail, waiting.reason)
    return text if waiting.kernel_index is None else f"kernel {waiting.kernel_index}: {text}"


def exact_amount(amount: int, slot_type: SlotType) -> str:
    """Write smallest units as whole units, to the last digit; bytes in the largest unit that divides them."""
    if slot_type.display_unit == "B" and slot_type.units_per_whole == 1:
        # Exact, as the reason may lie in the last byte.
        for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
            if amount and amount % 2**power == 0:
                return f"{amount // 2**power} {unit}"
    text = format_quantity(amount, slot_type.units_per_whole)
    return f"{text} {slot_type.display_unit}" if slot_type.display_unit else text


def a_few(names: Iterable[str]) -> str:
    """List a few names, and how many more there are, so that the text stays one line."""
    listed = list(names)
    rest = len(listed) - _NAMED_AGENTS
    return ", ".join(listed[:_NAMED_AGENTS]) + (f" and {rest} more" if rest > 0 else "")


class _Wording:
    def __init__(self, data: SchedulingData) -> None:
        self._slot_types = {slot_type.slot_index: slot_type for slot_type in data.slot_types}

    def word(self, detail: WaitingDetail, reason: WaitingReason) -> str:
        match detail:
            case GroupInactive():
                return f"the scaling group {detail.scaling_group} is inactive"
            case SlotShortage():
                return f"asks for {detail.requested} of slot index {detail.slot_index}, which no slot type has"
            case StartNotReached():
                return (
                    f"asked to start at {detail.requested_start_at.isoformat()}; "
                    f"at {detail.observed_at.isoformat()} that is not reached"
                )
            case UnmetDependency():
                return _unmet(detail, reason)
            case OwnerBreach():
                return self._breach(detail)
            case HoldNotFree():
                return self._hold(detail)
            case DesignatedUnavailable():
                return f"none of the designated agents takes kernels: {a_few(detail.designated_agent_ids)}"
            case ArchitectureUnavailable():
                return (
                    f"asks for {' and '.join(detail.requested)} on one agent; the candidate agents are "
                    f"{a_few(detail.available)}"
                )
            case NodeShortage():
                return self._node_shortage(detail, reason)
            case JointShortage():
                proof = (
                    "no placement of all exists"
                    if detail.is_proven
                    else "another choice of agents may hold all"
                )
                return (
                    f"its {detail.kernel_count} kernels fit one by one but not together: best fit placed "
                    f"{detail.placed_count}; {proof}"
                )
            case PossiblePlacement():
                agents = dict.fromkeys(kernel.agent_id for kernel in detail.kernels)
                return f"fits now on {a_few(agents)}; a plan that comes to it will place it"

    def _breach(self, detail: OwnerBreach) -> str:
        breach: QuotaBreach = detail.breach
        owner = f"{detail.scope.value.lower().replace('_', ' ')} {detail.owner_id}"
        if breach.kind is QuotaKind.KERNELS_PER_SESSION:
            return (
                f"kernels in one session of {owner} are limited to {breach.limit}; this has {breach.requested}"
            )
        if breach.kind is QuotaKind.CONCURRENT_SESSIONS or breach.slot_index is None:
            return f"sessions of {owner} at once are limited to {breach.limit}; it has {breach.used}"
        amounts = [
            self._amount(breach.slot_index, each) for each in (breach.used, breach.requested, breach.limit)
        ]
        used, requested, limit = amounts
        return (
            f"{owner} occupies {used} of {self._name(breach.slot_index)}; "
            f"{requested} more would pass its limit of {limit}"
        )

    def _hold(self, detail: HoldNotFree) -> str:
        subject = f"its reservation on agent {detail.agent_id} waits"
        match detail.obstacle:
            case None:
                return f"{subject}: the agent takes no kernels now"
            case SlotShortage(slot_index=index):
                requested = self._amount(index, detail.obstacle.requested)
                available = self._amount(index, detail.obstacle.available)
                return f"{subject} for {self._name(index)} {requested} (free for it now: {available})"
            case ContainerShortage(requested=count, used=used, limit=limit):
                return f"{subject} for containers {count} (free for it now: {limit - used})"
            case ArchitectureMismatch(requested=architecture, available=found):
                return f"{subject}: it asks for {architecture}, the agent is {found} now"
            case NotDesignated():
                return f"{subject}: the agent is none of the designated ones"

    def _node_shortage(self, detail: NodeShortage, reason: WaitingReason) -> str:
        is_whole = reason is WaitingReason.LARGER_THAN_ANY_AGENT
        # One slot that no agent has enough of says it all; else it is the combination that is not there.
        short = [slot for slot in detail.slots if slot.requested > slot.available]
        parts = [
            f"{self._name(slot.slot_index)} {self._amount(slot.slot_index, slot.requested)} "
            f"(most on one agent: {self._amount(slot.slot_index, slot.available)})"
            for slot in short or detail.slots
        ]
        if detail.container_room is not None:
            parts.append(f"containers {detail.container_count} (most on one agent: {detail.container_room})")
        subject = (
            "no candidate agent, even empty, is large enough for" if is_whole else "no agent has free at once"
        )
        return f"{subject} {', '.join(parts)}"

    def _name(self, slot_index: int) -> str:
        slot_type = self._slot_types.get(slot_index)
        return f"slot index {slot_index}" if slot_type is None else slot_type.name

    def _amount(self, slot_index: int, amount: int) -> str:
        slot_type = self._slot_types.get(slot_index)
        return str(amount) if slot_type is None else exact_amount(amount, slot_type)


def _unmet(detail: UnmetDependency, reason: WaitingReason) -> str:
    subject = f"depends on session {detail.depends_on}"
    if detail.status is None:
        return f"{subject}, which no longer exists: this can never be met"
    if reason is WaitingReason.DEPENDENCY_CANNOT_BE_MET:
        result = "" if detail.result is None else f" with {detail.result.value}"
        return f"{subject}, which ended as {detail.status.value}{result}: this can never be met"
    return f"{subject}, which is {detail.status.value}"
