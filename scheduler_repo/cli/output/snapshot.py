"""One SchedulingData, as a page for people and as JSON for programs."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_amount, format_count, format_percent, sum_slot
from scheduler_repo.cli.output.console import plain_table, stack
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import CacheOutcome
from scheduler_repo.repositories.scheduler.db_source import TimedSchedulingData
from scheduler_repo.scheduling.explain.reasons import WaitingReason, WaitingSession, waiting_reasons
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.types import OwnerScope

_SHOWN_OWNERS: Final = 5
_SHOWN_UNREADABLE: Final = 3
_SHOWN_PRIORITIES: Final = 10
_MILLION: Final = 1_000_000


def encode_snapshot(data: SchedulingData) -> bytes:
    """Encode the fields of ``data`` and, as ``waiting``, why each session waits, in queue order."""
    waiting = [
        {"session_id": each.session_id, "reason": each.reason, "text": describe(each, data)}
        for each in waiting_reasons(data)
    ]
    return msgspec.json.encode({**msgspec.structs.asdict(data), "waiting": waiting})


def lay_out_snapshot(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> RenderableType:
    """Lay out what one tick would see, ids whole at 80 columns; ``outcomes`` are those of the cache."""
    data = timed.data
    slots = ("slot", "capacity", "occupied", "per cent", "pending ask for")
    parts: list[RenderableType] = [
        plain_table(_head(timed, outcomes)),
        plain_table(_queue(data)),
        plain_table(_slots(data), slots, (1, 2, 3, 4)),
        _reasons(data),
    ]
    # The shares are negative, so that the nearest come first.
    nearest = sorted(limit for limit in _limits(data) if limit[0])[:_SHOWN_OWNERS]
    if nearest:
        rows = [(percent, stack(owner, f"  {limit}: {use}")) for _, owner, limit, percent, use in nearest]
        parts.append(plain_table(rows, ("per cent", "owners nearest their limits"), (0,)))
    return Group(*(line for part in parts for line in (part, "")))


def _head(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> Iterator[tuple[str, str]]:
    group = timed.data.scaling_group
    yield "group", f"{group.name}{'' if group.is_active else ' (inactive: nothing is placed)'}"
    yield "observed at", timed.data.observed_at.isoformat(sep=" ", timespec="milliseconds")
    yield "snapshot", timed.data.token.snapshot
    for row in timed.data.unreadable[:_SHOWN_UNREADABLE]:
        yield "left out", f"{row.entity} {row.entity_id}: {row.problem}"
    if len(timed.data.unreadable) > _SHOWN_UNREADABLE:
        yield "", f"and {len(timed.data.unreadable) - _SHOWN_UNREADABLE:,} more that cannot be read"
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
        sums = [sum_slot(amounts, slot_type.slot_index) for amounts in (capacities, occupied, requests)]
        have, used, asked = (format_amount(amount, slot_type) for amount in sums)
        yield slot_type.name, have, used, format_percent(sums[1], sums[0]), asked


def _reasons(data: SchedulingData) -> RenderableType:
    if not data.pending_sessions:
        return "nothing waits"
    names = {session.session_id: session.name for session in data.pending_sessions}
    examples: dict[WaitingReason, WaitingSession] = {}
    counts: Counter[WaitingReason] = Counter()
    for waiting in waiting_reasons(data):
        counts[waiting.reason] += 1
        examples.setdefault(waiting.reason, waiting)
    rows = []
    for reason, count in counts.most_common():
        example = examples[reason]
        text = f"{names[example.session_id]}: {describe(example, data)}"
        rows.append((reason.value, f"{count:,}", text))
    return plain_table(rows, ("why they wait", "sessions", "for example"), (1,))


def _limits(data: SchedulingData) -> Iterator[tuple[int, str, str, str, str]]:
    """Yield, for each limit: minus the share that is used, the owner, its name, the per cent, and the use."""
    slot_types = {slot_type.slot_index: slot_type for slot_type in data.slot_types}
    for scope in OwnerScope:
        for usage in data.owners_of(scope):
            owner = f"{scope.value.lower().replace('_', ' ')} {usage.owner_id}"
            if usage.max_concurrent_sessions is not None:
                used, allowed = usage.session_count, usage.max_concurrent_sessions
                yield _limit(owner, "sessions", used, allowed, "{:,}".format)
            for index, limit in enumerate(usage.slot_limits):
                if limit is not None and index in slot_types:
                    used = usage.occupied[index] if index < len(usage.occupied) else 0
                    text = partial(format_amount, slot_type=slot_types[index])
                    yield _limit(owner, slot_types[index].name, used, limit, text)


def _limit(
    owner: str, name: str, used: int, allowed: int, text: Callable[[int], str]
) -> tuple[int, str, str, str, str]:
    # A limit of 0 is reached from the start.
    share = used * _MILLION // allowed if allowed else _MILLION
    percent = format_percent(used, allowed) if allowed else "100.0 %"
    return -share, owner, name, percent, f"{text(used)} of {text(allowed)}"
