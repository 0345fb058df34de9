"""Writes the explanation of one session as lines and tables of text."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple, Optional

import msgspec

from scheduler_repo.entities.obstacles import QuotaKind
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.scheduling.explain.queue_turn import QueueTurn
from scheduler_repo.scheduling.explain.reasons import WaitingReason
from scheduler_repo.scheduling.explain.reasons_text import a_few, describe, exact_amount
from scheduler_repo.scheduling.explain.session import (
    DependencyCheck,
    LimitCheck,
    NodeFit,
    OwnerCheck,
    QueuePlace,
    ResourceFit,
    SessionExplanation,
)
from scheduler_repo.types import ClusterMode

# Writes an amount in a slot type's smallest units as people read it.
AmountText = Callable[[int, SlotType], str]


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
    facts = [
        Fact("in the queue", _place(place)),
        Fact("created at", f"{time_text(place.created_at)}, {age_text(place.age)}"),
    ]
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
    amounts = _Amounts(explanation.slot_types, amount_text)
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


def _place(place: QueuePlace) -> str:
    read = "" if place.pending_limit is None else f" read (at most {place.pending_limit:,})"
    ahead = _counted(place.rank - 1, "session")
    return f"{place.rank:,} of {place.pending_count:,}{read}, {ahead} ahead; priority {place.priority}"


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


class _Amounts:
    def __init__(self, slot_types: tuple[SlotType, ...], amount_text: AmountText) -> None:
        self._slot_types = {slot_type.slot_index: slot_type for slot_type in slot_types}
        self._amount_text = amount_text

    def name(self, slot_index: int) -> str:
        slot_type = self._slot_types.get(slot_index)
        return f"slot index {slot_index}" if slot_type is None else slot_type.name

    def text(self, slot_index: Optional[int], amount: int) -> str:
        return self._written(slot_index, amount, self._amount_text)

    def exact(self, slot_index: Optional[int], amount: int) -> str:
        return self._written(slot_index, amount, exact_amount)

    def _written(self, slot_index: Optional[int], amount: int, amount_text: AmountText) -> str:
        slot_type = None if slot_index is None else self._slot_types.get(slot_index)
        if slot_type is None:
            return f"{amount:,}"
        return f"-{amount_text(-amount, slot_type)}" if amount < 0 else amount_text(amount, slot_type)


def _node_table(node: NodeFit, explanation: SessionExplanation, amounts: _Amounts) -> TextTable:
    in_all = _counted(explanation.agent_count, "agent")
    title = (
        f"{_asked(node, explanation.cluster_mode)}: of {in_all}, {node.agents_in_question:,} candidates; "
        f"all of it fits on {node.fitting_agents:,}"
    )
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


def _resource(fit: ResourceFit, amounts: _Amounts) -> tuple[str, ...]:
    name = "containers" if fit.slot_index is None else amounts.name(fit.slot_index)
    if fit.best_agent_id is None:
        most = "-"
    elif fit.most_free is None:
        most = "no limit"
    else:
        most = amounts.text(fit.slot_index, fit.most_free)
    missing = amounts.exact(fit.slot_index, fit.missing) if fit.missing else "-"
    asked = amounts.text(fit.slot_index, fit.requested)
    return name, asked, f"{fit.fitting_agents:,}", most, missing, fit.best_agent_id or "-"


def _owner_table(owner: OwnerCheck, amounts: _Amounts) -> TextTable:
    policy = "" if owner.resource_policy is None else f", policy {owner.resource_policy}"
    title = f"{owner.scope.value.lower().replace('_', ' ')} {owner.owner_id}{policy}"
    if not owner.limits:
        return TextTable(f"{title}: no limits")
    columns = ("limit of", "used", "asks for", "allowed", "")
    return TextTable(title, columns, tuple(_limit(each, amounts) for each in owner.limits), (1, 2, 3))


def _limit(check: LimitCheck, amounts: _Amounts) -> tuple[str, ...]:
    names = {QuotaKind.KERNELS_PER_SESSION: "kernels per session", QuotaKind.CONCURRENT_SESSIONS: "sessions"}
    name = names[check.kind] if check.slot_index is None else amounts.name(check.slot_index)
    above = check.used + check.requested - check.limit
    verdict = "passes" if check.passes else f"{amounts.exact(check.slot_index, above)} above"
    figures = (amounts.text(check.slot_index, each) for each in (check.used, check.requested, check.limit))
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
