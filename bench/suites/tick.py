"""Suite ``tick``: the whole loop; a tick that places much, then steady ones after few changes and many.

And a plan by itself, of a queue that found no place before and of a cluster where nothing has changed.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from itertools import cycle, islice
from typing import Final

import msgspec

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.data.saved_state import saved_state
from bench.measure.results import ENGINE, PLAIN
from bench.measure.turns import Side
from bench.measure.wire import CountedWire, counted_wire
from bench.sides.plain_plan import plan_plainly
from bench.sides.tickers import Changes, open_tickers
from bench.sides.writers import PlannedBatch, have_them_run, read_queue
from bench.suites.suite import Bench, Case, Suite, always, fixed
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.types import SessionId

FIRST: Final = "first tick"
PLAN: Final = "plan, nothing changed"
CHANGES: Final = (0, 100, 1_000)
_RUNNING: Final = "SELECT id FROM sessions WHERE scaling_group = $1 AND status = 'RUNNING' ORDER BY id LIMIT $2"


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure ticks of one cluster; each turn is undone."""
    async with bench.cluster() as loaded, counted_wire(loaded.place.url) as wire:
        place = loaded.place
        async for case in _tick_case(FIRST, place, wire, Changes(), bench.planner):
            yield case
        # What changes are made of, drawn from the queue while it is full.
        models = PlannedBatch.of(await read_queue(place), CHANGES[-1]).specs
        while (batch := PlannedBatch.of(await read_queue(place), None)).allocations:
            await have_them_run(place, batch)
        yield _plan_case(await read_queue(place), bench.size.pending)
        for changes in CHANGES:
            running = await _list_running(place, changes // 2)
            several = min(changes // 2, len(running), len(models))
            changed = Changes(models[:several], running[:several])
            async for case in _tick_case(_steady(changes), place, wire, changed, bench.planner):
                yield case


async def _tick_case(
    name: str, place: Place, wire: CountedWire, changes: Changes, planner: Planner
) -> AsyncIterator[Case]:
    async with (
        saved_state(place) as saved,
        open_tickers(place, saved, changes, planner=planner) as timed,
        open_tickers(place.by_way_of(wire), saved, changes) as counted,
    ):
        yield Case(name, timed.sides(), counted.sides(), wire, figures=timed.figures)


def _plan_case(data: SchedulingData, waiting: int) -> Case:
    """Plan so many sessions that wait: those of the data, again and again."""
    sessions = tuple(islice(cycle(data.pending_sessions), waiting))
    data = msgspec.structs.replace(data, pending_sessions=sessions)

    async def plan() -> None:
        BestFitPlanner().plan(data)

    async def plan_by_all_rules() -> None:
        tuple(plan_plainly(data))

    sides = {ENGINE: Side(plan), PLAIN: Side(plan_by_all_rules, turns=3)}
    return Case(PLAN, sides, figures=fixed(waiting=len(sessions)))


async def _list_running(place: Place, count: int) -> tuple[SessionId, ...]:
    async with place.driver() as driver:
        return tuple(row[0] for row in await driver.fetch(_RUNNING, GROUP, count))


def _steady(changes: int) -> str:
    return f"steady, {changes:,} changes"


TICK: Final = Suite(
    name="tick",
    about="the whole loop: a tick that places much, and steady ones after changes",
    case_names=always(FIRST, PLAN, *map(_steady, CHANGES)),
    cases=cases,
    takes_trace=True,
    turns=7,
)
