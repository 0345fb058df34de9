"""The outcome of a run of the demo: a struct for programs, a page for people."""

from collections.abc import Iterator, Mapping

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_amount, format_percent
from scheduler_repo.cli.output.console import plain_table
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.loop import TickTimes
from scheduler_repo.types import ScalingGroupName, SlotName


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """One slot, summed over the agents, in its smallest unit."""

    capacity: int
    occupied: int


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run.

    ``elsewhere`` counts sessions that another writer placed or ended meanwhile; ``tick_ms`` has the median over
    the ticks of each of their parts.
    """

    group: ScalingGroupName
    sessions: int
    placed: int
    waiting: int
    elsewhere: int
    waiting_reasons: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: int
    tick_ms: Mapping[str, float]
    agents: int
    overcommitted_agents: int
    slots: Mapping[SlotName, SlotUse]
    phases_s: Mapping[str, float]
    total_s: float


def lay_out_summary(result: DemoResult, data: SchedulingData, in_all: TickTimes) -> RenderableType:
    """Lay the result out for a terminal or a pipe; ``in_all`` are the sums over all ticks."""
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.phases_s.items())
    times = [
        (
            "ticks, in all",
            f"read {in_all.read * 1000:,.1f}, transform {in_all.transform * 1000:,.1f}, "
            f"plan {in_all.plan * 1000:,.1f}, write {in_all.write * 1000:,.1f} ms",
        ),
        ("run", f"{phases}; {result.total_s:.2f} s in all"),
    ]
    slots = plain_table(_slots(result, data), ("slot", "capacity", "occupied", "per cent"), (1, 2, 3))
    counts = ((name, f"{number:,}") for name, number in _counts(result))
    return Group("", plain_table(counts, numbers=(1,)), "", slots, "", plain_table(times), "")


def _counts(result: DemoResult) -> Iterator[tuple[str, int]]:
    yield "agents", result.agents
    yield "sessions", result.sessions
    yield "  placed", result.placed
    yield "  waiting", result.waiting
    for reason, count in result.waiting_reasons.items():
        yield f"    {reason}", count
    if result.elsewhere:
        yield "  placed or ended by others", result.elsewhere
    yield "rejected by the gate", sum(result.rejected.values())
    for code, count in result.rejected.items():
        yield f"    {code}", count
    yield "overcommitted agents", result.overcommitted_agents
    yield "ticks", result.ticks


def _slots(result: DemoResult, data: SchedulingData) -> Iterator[tuple[str, ...]]:
    for slot_type in data.slot_types:
        use = result.slots.get(slot_type.name)
        if use is not None:
            capacity, occupied = (format_amount(amount, slot_type) for amount in (use.capacity, use.occupied))
            yield slot_type.name, capacity, occupied, format_percent(use.occupied, use.capacity)
