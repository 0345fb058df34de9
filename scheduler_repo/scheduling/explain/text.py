"""Writes why sessions wait: a reason as one line, the explanation of one session as lines and tables."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple, Optional

import msgspec

from scheduler_repo.entities.obstacles import (
    ArchitectureMismatch,
    ContainerShortage,
    HoldNotFree,
    NotDesignated,
    OwnerBreach,
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
from scheduler_repo.scheduling.explain.session import (
    DependencyCheck,
    LimitCheck,
    NodeFit,
    OwnerCheck,
    QueueTurn,
    ResourceFit,
    SessionExplanation,
)
from scheduler_repo.slots import format_quantity
from scheduler_repo.types import ClusterMode, OwnerScope

_NAMED_AGENTS = 3

# Writes an amount in a slot type's smallest units as people read it.
AmountText = Callable[[int, SlotType], str]


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
    text = _word(waiting.detail, waiting.reason, _SlotWords(data.slot_types))
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


def _word_scope(scope: OwnerScope) -> str:
    return scope.value.lower().replace("_", " ")


class _SlotWords:
    """Writes slots and amounts with the slot types of one snapshot."""

    def __init__(self, slot_types: Iterable[SlotType], amount_text: AmountText = exact_amount) -> None:
        self._slot_types = {slot_type.slot_index: slot_type for slot_type in slot_types}
        self._amount_text = amount_text

    def name(self, slot_index: int) -> str:
        slot_type = self._slot_types.get(slot_index)
        return f"slot index {slot_index}" if slot_type is None else slot_type.name

    def exact(self, slot_index: int, amount: int) -> str:
        slot_type = self._slot_types.get(slot_index)
        return str(amount) if slot_type is None else exact_amount(amount, slot_type)

    def figure(self, slot_index: Optional[int], amount: int, amount_text: Optional[AmountText] = None) -> str:
        """Write an amount as ``amount_text`` does; without a slot type, as a number in smallest units."""
        write = amount_text or self._amount_text
        slot_type = None if slot_index is None else self._slot_types.get(slot_index)
        if slot_type is None:
            return f"{amount:,}"
        return f"-{write(-amount, slot_type)}" if amount < 0 else write(amount, slot_type)


def _word(detail: WaitingDetail, reason: WaitingReason, slots: _SlotWords) -> str:
    match detail:
        case GroupInactive(scaling_group=group):
            return f"the scaling group {group} is inactive"
        case SlotShortage(slot_index=index, requested=requested):
            return f"asks for {requested} of slot index {index}, which no slot type has"
        case StartNotReached(requested_start_at=start, observed_at=now):
            return f"asked to start at {start.isoformat()}; at {now.isoformat()} that is not reached"
        case UnmetDependency():
            return _word_unmet(detail, reason)
        case OwnerBreach():
            return _word_breach(detail, slots)
        case HoldNotFree():
            return _word_reservation(detail, slots)
        case DesignatedUnavailable(designated_agent_ids=designated):
            return f"none of the designated agents takes kernels: {a_few(designated)}"
        case ArchitectureUnavailable(requested=requested, available=available):
            asked = f"asks for {' and '.join(requested)} on one agent"
            return f"{asked}; the candidate agents are {a_few(available)}"
        case NodeShortage():
            return _word_node_shortage(detail, reason, slots)
        case JointShortage(kernel_count=count, placed_count=placed, is_proven=is_proven):
            other = "another choice of agents may hold all"
            proof = "no placement of all exists" if is_proven else other
            return f"its {count} kernels fit one by one but not together: best fit placed {placed}; {proof}"
        case PossiblePlacement(kernels=kernels):
            agents = dict.fromkeys(kernel.agent_id for kernel in kernels)
            return f"fits now on {a_few(agents)}; a plan that comes to it will place it"


def _word_unmet(detail: UnmetDependency, reason: WaitingReason) -> str:
    subject = f"depends on session {detail.depends_on}"
    if detail.unknown_word is not None:
        return f"{subject}, whose {detail.unknown_word!r} this version does not know: upgrade it"
    if detail.is_hopeless:
        reason_of_other = "waits for one that can never succeed, or in a ring"
        return f"{subject}, which {reason_of_other}: this can never be met"
    if detail.status is None:
        return f"{subject}, which no longer exists: this can never be met"
    if reason is WaitingReason.DEPENDENCY_CANNOT_BE_MET:
        result = "" if detail.result is None else f" with {detail.result.value}"
        return f"{subject}, which ended as {detail.status.value}{result}: this can never be met"
    return f"{subject}, which is {detail.status.value}"


def _word_breach(detail: OwnerBreach, slots: _SlotWords) -> str:
    breach, index = detail.breach, detail.breach.slot_index
    owner = f"{_word_scope(detail.scope)} {detail.owner_id}"
    if breach.kind is QuotaKind.KERNELS_PER_SESSION:
        return f"kernels in one session of {owner} are limited to {breach.limit}; this has {breach.requested}"
    if breach.kind is QuotaKind.CONCURRENT_SESSIONS or index is None:
        return f"sessions of {owner} at once are limited to {breach.limit}; it has {breach.used}"
    figures = (breach.used, breach.requested, breach.limit)
    used, requested, limit = [slots.exact(index, figure) for figure in figures]
    return f"{owner} occupies {used} of {slots.name(index)}; {requested} more would pass its limit of {limit}"


def _word_reservation(detail: HoldNotFree, slots: _SlotWords) -> str:
    subject = f"its reservation on agent {detail.agent_id} waits"
    match detail.obstacle:
        case SlotShortage(slot_index=index, requested=requested, available=available):
            needed = f"{slots.name(index)} {slots.exact(index, requested)}"
            return f"{subject} for {needed} (free for it now: {slots.exact(index, available)})"
        case ContainerShortage(requested=count, used=used, limit=limit):
            return f"{subject} for containers {count} (free for it now: {limit - used})"
        case ArchitectureMismatch(requested=architecture, available=found):
            return f"{subject}: it asks for {architecture}, the agent is {found} now"
        case NotDesignated():
            return f"{subject}: the agent is none of the designated ones"


def _word_node_shortage(detail: NodeShortage, reason: WaitingReason, slots: _SlotWords) -> str:
    # One slot that no agent has enough of says it all; else it is the combination that is not there.
    short = [slot for slot in detail.slots if slot.requested > slot.available]
    parts = [
        f"{slots.name(slot.slot_index)} {slots.exact(slot.slot_index, slot.requested)} "
        f"(most on one agent: {slots.exact(slot.slot_index, slot.available)})"
        for slot in short or detail.slots
    ]
    if detail.container_room is not None:
        parts.append(f"containers {detail.container_count} (most on one agent: {detail.container_room})")
    subject = "no agent has free at once"
    if reason is WaitingReason.LARGER_THAN_ANY_AGENT:
        subject = "no candidate agent, even empty, is large enough for"
    return f"{subject} {', '.join(parts)}"


class Fact(NamedTuple):
    """One line: a label and its text."""

    label: str
    text: str


class TextTable(msgspec.Struct, frozen=True):
    """A table of texts; ``numbers`` are the positions of the columns to align as numbers.

    With nothing to list it has no columns and rows, only the title.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    numbers: tuple[int, ...] = ()


def reason_facts(explanation: SessionExplanation, data: SchedulingData) -> tuple[Fact, ...]:
    """Describe the first obstacle; ``data`` is the snapshot in which the explanation was found."""
    waiting = explanation.waiting
    facts = [Fact("why it waits", f"{waiting.reason.value}: {describe(waiting, data)}")]
    for agent in explanation.designated_agents:
        state = "takes kernels" if agent.takes_kernels else "takes no kernels in this group"
        facts.append(Fact("designated agent", f"{agent.agent_id}: {state}"))
    return tuple(facts)


def queue_facts(explanation: SessionExplanation, data: SchedulingData) -> tuple[Fact, ...]:
    """Describe the session's place in the queue, and what the sessions ahead of it leave."""
    place = explanation.place
    read = "" if place.pending_limit is None else f" read (at most {place.pending_limit:,})"
    ahead = f"{_counted(place.rank - 1, 'session')} ahead"
    position = f"{place.rank:,} of {place.pending_count:,}{read}, {ahead}; priority {place.priority}"
    created = f"{time_text(place.created_at)}, {age_text(place.age)}"
    facts = [Fact("in the queue", position), Fact("created at", created)]
    if place.requested_start_at is not None:
        reached = "reached" if place.is_start_reached else "not reached"
        facts.append(Fact("not before", f"{time_text(place.requested_start_at)}: {reached}"))
    if explanation.turn is not None:
        facts.append(Fact("its turn", _turn(explanation.turn, data)))
    return tuple(facts)


def explanation_tables(
    explanation: SessionExplanation, amount_text: AmountText = exact_amount
) -> tuple[TextTable, ...]:
    """Tabulate how near the session comes to fitting, its owners' limits, and its dependencies.

    ``amount_text`` may round available amounts; missing amounts are always exact.
    """
    amounts = _SlotWords(explanation.slot_types, amount_text)
    return (
        *(_node_table(node, explanation, amounts) for node in explanation.nodes),
        *(_owner_table(owner, amounts) for owner in explanation.owners),
        _dependency_table(explanation.dependencies),
    )


def time_text(time: datetime) -> str:
    """Write a time to the millisecond, with its offset."""
    return time.isoformat(sep=" ", timespec="milliseconds")


def age_text(age: timedelta) -> str:
    """Write an age in whole seconds, rounded down."""
    whole = timedelta(days=abs(age).days, seconds=abs(age).seconds)
    return f"{whole} ago" if age >= timedelta() else f"{whole} ahead of the database's clock"


def _turn(turn: QueueTurn, data: SchedulingData) -> str:
    before = f"{_counted(turn.placed_before, 'session')} before it"
    if turn.allocation is not None:
        agents = a_few(dict.fromkeys(kernel.agent_id for kernel in turn.allocation.kernels))
        placed = f"places {before}, then this one" if turn.placed_before else "places it"
        return f"a plan of this queue {placed} on {agents}"
    text = f"fits now if it were first, but a plan places {before}"
    if turn.lacks is None or turn.lacks.reason is WaitingReason.PLACEABLE:
        return f"{text} and then misses the choice of agents that is left"
    return f"{text}, which leaves too little; then {turn.lacks.reason.value}: {describe(turn.lacks, data)}"


def _node_table(node: NodeFit, explanation: SessionExplanation, amounts: _SlotWords) -> TextTable:
    candidates = f"of {_counted(explanation.agent_count, 'agent')}, {node.agents_in_question:,} candidates"
    fits = f"all of it fits on {node.fitting_agents:,}"
    title = f"{_asked(node, explanation.cluster_mode)}: {candidates}; {fits}"
    columns = ("asks for", "", "fits on", "most free", "missing", "on agent")
    return TextTable(title, columns, tuple(_resource(each, amounts) for each in node.resources), (1, 2, 3, 4))


def _asked(node: NodeFit, cluster_mode: ClusterMode) -> str:
    indexes = node.kernel_indexes
    of = f" of {' and '.join(node.request.architectures)}" if node.request.architectures else ""
    if len(indexes) == 1:
        return f"kernel {indexes[0]} on an agent{of}"
    if cluster_mode is ClusterMode.SINGLE_NODE:
        return f"its {len(indexes):,} kernels together on one agent{of}"
    return f"each of the kernels {a_few(str(index) for index in indexes)} on an agent{of}"


def _resource(fit: ResourceFit, amounts: _SlotWords) -> tuple[str, ...]:
    name = "containers" if fit.slot_index is None else amounts.name(fit.slot_index)
    if fit.best_agent_id is None:
        most = "-"
    elif fit.most_free is None:
        most = "no limit"
    else:
        most = amounts.figure(fit.slot_index, fit.most_free)
    missing = amounts.figure(fit.slot_index, fit.missing, exact_amount) if fit.missing else "-"
    asked = amounts.figure(fit.slot_index, fit.requested)
    return name, asked, f"{fit.fitting_agents:,}", most, missing, fit.best_agent_id or "-"


def _owner_table(owner: OwnerCheck, amounts: _SlotWords) -> TextTable:
    policy = "" if owner.resource_policy is None else f", policy {owner.resource_policy}"
    title = f"{_word_scope(owner.scope)} {owner.owner_id}{policy}"
    if not owner.limits:
        return TextTable(f"{title}: no limits")
    columns = ("limit of", "used", "asks for", "allowed", "")
    return TextTable(title, columns, tuple(_limit(each, amounts) for each in owner.limits), (1, 2, 3))


def _limit(check: LimitCheck, amounts: _SlotWords) -> tuple[str, ...]:
    names = {QuotaKind.KERNELS_PER_SESSION: "kernels per session", QuotaKind.CONCURRENT_SESSIONS: "sessions"}
    name = names[check.kind] if check.slot_index is None else amounts.name(check.slot_index)
    above = check.used + check.requested - check.limit
    verdict = "passes" if check.passes else f"{amounts.figure(check.slot_index, above, exact_amount)} above"
    figures = (amounts.figure(check.slot_index, each) for each in (check.used, check.requested, check.limit))
    return name, *figures, verdict


def _dependency_table(dependencies: tuple[DependencyCheck, ...]) -> TextTable:
    if not dependencies:
        return TextTable("depends on no session")
    rows = []
    for each in dependencies:
        result = "" if each.result is None else f", {each.result.value}"
        status = "no longer exists" if each.status is None else f"{each.status.value}{result}"
        verdict = "met" if each.is_met else "not yet met" if each.can_be_met else "can never be met"
        rows.append((str(each.depends_on), status, verdict))
    return TextTable("depends on", ("session", "status", ""), tuple(rows))


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
