"""A SchedulingData on one page, for people."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from scheduler_repo.cli.output.amounts import amount_text, count_text, percent_text, slot_total
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import CacheOutcome
from scheduler_repo.repositories.scheduler.db_source import TimedSchedulingData
from scheduler_repo.scheduling.explain.reasons import WaitingReason, WaitingSession, waiting_reasons
from scheduler_repo.scheduling.explain.reasons_text import describe

_SHOWN_OWNERS: Final = 5
_SHOWN_PRIORITIES: Final = 10
_BASIS: Final = 1_000_000


class _Nearness(NamedTuple):
    """How near an owner is to one of its limits; ``share`` in millionths, to sort by."""

    share: int
    owner: str
    limit: str
    used: str
    allowed: str
    percent: str


def snapshot_summary(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> RenderableType:
    """Lay out what one tick would see, ids whole at 80 columns; ``outcomes`` are those of the cache."""
    data = timed.data
    return Group(
        _head(timed, outcomes), "", _queue(data), "", _slots(data), "", _reasons(data), *_owners(data), ""
    )


def _plain_table(*, show_header: bool) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=show_header)


def _head(timed: TimedSchedulingData, outcomes: Mapping[CacheOutcome, int]) -> Table:
    data = timed.data
    group = data.scaling_group
    table = _plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("group", f"{group.name}{'' if group.is_active else ' (inactive: nothing is placed)'}")
    table.add_row("observed at", data.observed_at.isoformat(sep=" ", timespec="milliseconds"))
    table.add_row("snapshot", data.snapshot)
    if CacheOutcome.HIT in outcomes:
        source = "the cache"
    else:
        milliseconds = (timed.read_seconds + timed.transform_seconds) * 1000
        missed = "".join(f", cache {outcome.value.replace('_', ' ')}" for outcome in outcomes)
        source = f"the database in {milliseconds:.1f} ms{missed}"
    table.add_row("answered by", source)
    return table


def _queue(data: SchedulingData) -> Table:
    table = _plain_table(show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    pending = data.pending_sessions
    kernels = sum(len(session.kernels) for session in pending)
    table.add_row("pending", f"{count_text(len(pending), 'session')}, {count_text(kernels, 'kernel')}")
    by_priority = Counter(session.priority for session in pending)
    for priority in sorted(by_priority, reverse=True)[:_SHOWN_PRIORITIES]:
        table.add_row(f"  priority {priority}", f"{by_priority[priority]:,}")
    if len(by_priority) > _SHOWN_PRIORITIES:
        table.add_row("", f"and {count_text(len(by_priority) - _SHOWN_PRIORITIES, 'lower priority group')}")
    if pending:
        oldest = min(pending, key=lambda session: (session.created_at, session.session_id))
        table.add_row("  oldest", f"{oldest.session_id}, created {oldest.created_at.isoformat(sep=' ')}")
    containers = sum(agent.container_count for agent in data.agents)
    table.add_row("agents", f"{len(data.agents):,} take kernels; they hold {count_text(containers, 'kernel')}")
    return table


def _slots(data: SchedulingData) -> Table:
    table = _plain_table(show_header=True)
    table.add_column("slot", overflow="fold")
    for name in ("capacity", "occupied", "per cent", "pending ask for"):
        table.add_column(name, justify="right")
    capacities = [agent.capacity for agent in data.agents]
    occupied = [agent.occupied for agent in data.agents]
    requests = [kernel.requested_slots for session in data.pending_sessions for kernel in session.kernels]
    for slot_type in data.slot_types:
        have = slot_total(capacities, slot_type.slot_index)
        used = slot_total(occupied, slot_type.slot_index)
        asked = slot_total(requests, slot_type.slot_index)
        amounts = (amount_text(amount, slot_type) for amount in (have, used))
        table.add_row(slot_type.name, *amounts, percent_text(used, have), amount_text(asked, slot_type))
    return table


def _reasons(data: SchedulingData) -> RenderableType:
    if not data.pending_sessions:
        return Text("nothing waits")
    names = {session.session_id: session.name for session in data.pending_sessions}
    examples: dict[WaitingReason, WaitingSession] = {}
    counts: Counter[WaitingReason] = Counter()
    for waiting in waiting_reasons(data):
        counts[waiting.reason] += 1
        examples.setdefault(waiting.reason, waiting)
    table = _plain_table(show_header=True)
    table.add_column("why they wait", no_wrap=True)
    table.add_column("sessions", justify="right", no_wrap=True)
    table.add_column("for example", overflow="fold")
    for reason, count in counts.most_common():
        example = examples[reason]
        table.add_row(reason.value, f"{count:,}", f"{names[example.session_id]}: {describe(example, data)}")
    return table


def _owners(data: SchedulingData) -> tuple[RenderableType, ...]:
    near = (each for each in _nearness(data) if each.share > 0)
    nearest = sorted(near, key=lambda each: (-each.share, each.owner, each.limit))[:_SHOWN_OWNERS]
    if not nearest:
        return ()
    table = _plain_table(show_header=True)
    table.add_column("per cent", justify="right", no_wrap=True)
    table.add_column("owners nearest their limits", overflow="fold")
    for each in nearest:
        table.add_row(each.percent, f"{each.owner}\n  {each.limit}: {each.used} of {each.allowed}")
    return "", table


def _nearness(data: SchedulingData) -> Iterator[_Nearness]:
    scopes = (
        ("access key", data.access_keys),
        ("user", data.users),
        ("project", data.projects),
        ("domain", data.domains),
    )
    slot_types = {slot_type.slot_index: slot_type for slot_type in data.slot_types}
    for scope, usages in scopes:
        for usage in usages:
            owner = f"{scope} {usage.owner_id}"
            most = usage.max_concurrent_sessions
            if most is not None:
                used = usage.session_count
                yield _Nearness(
                    _share(used, most), owner, "sessions", f"{used:,}", f"{most:,}", _full(used, most)
                )
            for index, limit in enumerate(usage.slot_limits):
                slot_type = slot_types.get(index)
                if limit is None or slot_type is None:
                    continue
                used = usage.occupied[index] if index < len(usage.occupied) else 0
                texts = amount_text(used, slot_type), amount_text(limit, slot_type)
                yield _Nearness(_share(used, limit), owner, slot_type.name, *texts, _full(used, limit))


def _share(used: int, limit: int) -> int:
    # A limit of nothing is reached from the start.
    return _BASIS if limit == 0 else used * _BASIS // limit


def _full(used: int, limit: int) -> str:
    return "100.0 %" if limit == 0 else percent_text(used, limit)
