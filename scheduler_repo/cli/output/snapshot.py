"""One SchedulingData, as a page for people and as JSON for programs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final, NamedTuple

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_amount, format_count, format_percent, sum_slot
from scheduler_repo.cli.output.console import plain_table
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import CacheOutcome
from scheduler_repo.repositories.scheduler.db_source import TimedSchedulingData
from scheduler_repo.scheduling.explain.reasons import WaitingReason, WaitingSession, waiting_reasons
from scheduler_repo.scheduling.explain.reasons_text import describe
from scheduler_repo.types import OwnerScope, SessionId

_SHOWN_OWNERS: Final = 5
_SHOWN_PRIORITIES: Final = 10
_MILLION: Final = 1_000_000


class _Nearness(NamedTuple):
    """How near an owner is to one of its limits; sorts the nearest first."""

    negative_share: int
    owner: str
    limit: str
    percent: str
    use: str


class WaitingLine(msgspec.Struct, frozen=True):
    """Why one session waits; ``text`` is the reason in words, with its amounts."""

    session_id: SessionId
    reason: WaitingReason
    text: str


def encode_snapshot(data: SchedulingData) -> bytes:
    """Encode the fields of ``data`` and, as ``waiting``, a WaitingLine for each session, in queue order."""
    waiting = [
        WaitingLine(each.session_id, each.reason, describe(each, data)) for each in waiting_reasons(data)
    ]
    fields: dict[str, object] = {name: getattr(data, name) for name in data.__struct_fields__}
    return msgspec.json.encode({**fields, "waiting": waiting})


def lay_out_snapshot(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> RenderableType:
    """Lay out what one tick would see, ids whole at 80 columns; ``outcomes`` are those of the cache."""
    data = timed.data
    parts: list[RenderableType] = [
        plain_table(_head(timed, outcomes)),
        "",
        plain_table(_queue(data)),
        "",
        plain_table(
            _slots(data), ("slot", "capacity", "occupied", "per cent", "pending ask for"), (1, 2, 3, 4)
        ),
        "",
        _reasons(data),
        "",
    ]
    nearest = sorted(each for each in _owners(data) if each.negative_share)[:_SHOWN_OWNERS]
    if nearest:
        rows = [(each.percent, f"{each.owner}\n  {each.limit}: {each.use}") for each in nearest]
        parts += [plain_table(rows, ("per cent", "owners nearest their limits"), (0,)), ""]
    return Group(*parts)


def _head(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> Iterator[tuple[str, str]]:
    group = timed.data.scaling_group
    yield "group", f"{group.name}{'' if group.is_active else ' (inactive: nothing is placed)'}"
    yield "observed at", timed.data.observed_at.isoformat(sep=" ", timespec="milliseconds")
    yield "snapshot", timed.data.snapshot
    if CacheOutcome.HIT in outcomes:
        yield "answered by", "the cache"
    else:
        milliseconds = (timed.read_seconds + timed.transform_seconds) * 1000
        missed = "".join(f", cache {outcome.value.replace('_', ' ')}" for outcome in outcomes)
        yield "answered by", f"the database in {milliseconds:.1f} ms{missed}"


def _queue(data: SchedulingData) -> Iterator[tuple[str, str]]:
    pending = data.pending_sessions
    kernels = sum(len(session.kernels) for session in pending)
    yield "pending", f"{format_count(len(pending), 'session')}, {format_count(kernels, 'kernel')}"
    by_priority = Counter(session.priority for session in pending)
    for priority in sorted(by_priority, reverse=True)[:_SHOWN_PRIORITIES]:
        yield f"  priority {priority}", f"{by_priority[priority]:,}"
    if len(by_priority) > _SHOWN_PRIORITIES:
        yield "", f"and {format_count(len(by_priority) - _SHOWN_PRIORITIES, 'lower priority group')}"
    if pending:
        oldest = min(pending, key=lambda session: (session.created_at, session.session_id))
        yield "  oldest", f"{oldest.session_id}, created {oldest.created_at.isoformat(sep=' ')}"
    containers = sum(agent.container_count for agent in data.agents)
    yield "agents", f"{len(data.agents):,} take kernels; they hold {format_count(containers, 'kernel')}"


def _slots(data: SchedulingData) -> Iterator[tuple[str, ...]]:
    capacities = [agent.capacity for agent in data.agents]
    occupied = [agent.occupied for agent in data.agents]
    requests = [kernel.requested_slots for session in data.pending_sessions for kernel in session.kernels]
    for slot_type in data.slot_types:
        have, used, asked = (
            sum_slot(amounts, slot_type.slot_index) for amounts in (capacities, occupied, requests)
        )
        have_text, used_text, asked_text = (format_amount(amount, slot_type) for amount in (have, used, asked))
        yield slot_type.name, have_text, used_text, format_percent(used, have), asked_text


def _reasons(data: SchedulingData) -> RenderableType:
    if not data.pending_sessions:
        return "nothing waits"
    names = {session.session_id: session.name for session in data.pending_sessions}
    examples: dict[WaitingReason, WaitingSession] = {}
    counts: Counter[WaitingReason] = Counter()
    for waiting in waiting_reasons(data):
        counts[waiting.reason] += 1
        examples.setdefault(waiting.reason, waiting)
    rows = [
        (
            reason.value,
            f"{count:,}",
            f"{names[examples[reason].session_id]}: {describe(examples[reason], data)}",
        )
        for reason, count in counts.most_common()
    ]
    return plain_table(rows, ("why they wait", "sessions", "for example"), (1,))


def _owners(data: SchedulingData) -> Iterator[_Nearness]:
    slot_types = {slot_type.slot_index: slot_type for slot_type in data.slot_types}
    for scope in OwnerScope:
        for usage in data.owners_of(scope):
            owner = f"{scope.value.lower().replace('_', ' ')} {usage.owner_id}"
            if usage.max_concurrent_sessions is not None:
                yield _nearness(
                    owner, "sessions", usage.session_count, usage.max_concurrent_sessions, "{:,}".format
                )
            for index, limit in enumerate(usage.slot_limits):
                if limit is None or index not in slot_types:
                    continue
                slot_type = slot_types[index]
                used = usage.occupied[index] if index < len(usage.occupied) else 0
                text = partial(format_amount, slot_type=slot_type)
                yield _nearness(owner, slot_type.name, used, limit, text)


def _nearness(owner: str, limit: str, used: int, allowed: int, text: Callable[[int], str]) -> _Nearness:
    # A limit of 0 is reached from the start.
    share = used * _MILLION // allowed if allowed else _MILLION
    percent = format_percent(used, allowed) if allowed else "100.0 %"
    return _Nearness(-share, owner, limit, percent, f"{text(used)} of {text(allowed)}")
