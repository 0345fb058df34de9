"""What a run of the demo came to: a struct for programs, a page for people."""

from collections.abc import Mapping

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table

from scheduler_repo.cli.output.amounts import amount_text, percent_text
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.loop import TickTimes
from scheduler_repo.types import ScalingGroupName, SlotName


class TickMilliseconds(msgspec.Struct, frozen=True, kw_only=True):
    """Medians over the ticks of a run."""

    read: float
    transform: float
    plan: float
    write: float


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """One slot, summed over the agents, in its smallest unit."""

    capacity: int
    occupied: int


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run; ``elsewhere`` are sessions that another writer placed or ended meanwhile."""

    group: ScalingGroupName
    sessions: int
    placed: int
    waiting: int
    elsewhere: int
    waiting_reasons: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: int
    tick_ms: TickMilliseconds
    agents: int
    overcommitted_agents: int
    slots: Mapping[SlotName, SlotUse]
    phases_s: Mapping[str, float]
    total_s: float


def summary_table(result: DemoResult, data: SchedulingData, in_all: TickTimes) -> RenderableType:
    """Lay the result out for a terminal or a pipe; ``in_all`` are the sums over all ticks."""
    return Group("", _outcome(result), "", _slots(result, data), "", _times(result, in_all), "")


def _plain_table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)


def _outcome(result: DemoResult) -> Table:
    table = _plain_table()
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)

    def add(name: str, number: int) -> None:
        table.add_row(name, f"{number:,}")

    add("agents", result.agents)
    add("sessions", result.sessions)
    add("  placed", result.placed)
    add("  waiting", result.waiting)
    for reason, count in result.waiting_reasons.items():
        add(f"    {reason}", count)
    if result.elsewhere:
        add("  placed or ended by others", result.elsewhere)
    add("rejected by the gate", sum(result.rejected.values()))
    for code, count in result.rejected.items():
        add(f"    {code}", count)
    add("overcommitted agents", result.overcommitted_agents)
    add("ticks", result.ticks)
    return table


def _slots(result: DemoResult, data: SchedulingData) -> Table:
    table = _plain_table()
    table.show_header = True
    table.add_column("slot", overflow="fold")
    for name in ("capacity", "occupied", "per cent"):
        table.add_column(name, justify="right")
    for slot_type in data.slot_types:
        use = result.slots.get(slot_type.name)
        if use is not None:
            table.add_row(
                slot_type.name,
                amount_text(use.capacity, slot_type),
                amount_text(use.occupied, slot_type),
                percent_text(use.occupied, use.capacity),
            )
    return table


def _times(result: DemoResult, in_all: TickTimes) -> Table:
    table = _plain_table()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "ticks, in all",
        f"read {in_all.read * 1000:,.1f}, transform {in_all.transform * 1000:,.1f}, "
        f"plan {in_all.plan * 1000:,.1f}, write {in_all.write * 1000:,.1f} ms",
    )
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.phases_s.items())
    table.add_row("run", f"{phases}; {result.total_s:.2f} s in all")
    return table
