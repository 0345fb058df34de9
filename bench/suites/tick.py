"""Suite ``tick``: the whole loop; a tick that places much, then steady ones after few changes and many.

And a plan by itself, of a queue that found no place before and of a cluster where nothing has changed; and
steady ticks as the queue grows.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Final, Optional

import msgspec

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.data.saved_state import saved_state
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.measure.results import ENGINE, PLAIN, CaseResult
from bench.measure.turns import Side, Times
from bench.measure.wire import CountedWire, counted_wire
from bench.sides.plain_plan import plan_plainly
from bench.sides.refreshers import FULL
from bench.sides.tickers import Changes, open_tickers
from bench.sides.writers import PlannedBatch, have_them_run, read_queue
from bench.suites.suite import Bench, Case, Suite, fixed
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.types import SessionId, SessionStatus

FIRST: Final = "first tick"
PLAN: Final = "plan, nothing changed"
CHANGES: Final = (0, 100, 1_000)
# Pending sessions of the group as it grows, before those are placed that fit.
POINTS: Final[Mapping[SizeName, tuple[int, ...]]] = {
    SizeName.XS: (50, 100),
    SizeName.S: (1_000, 4_000),
    SizeName.M: (2_000, 10_000),
    SizeName.L: (5_000, 20_000, 100_000),
}
GROWTH_CHANGES: Final = 100
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
            changed = await _draw_changes(place, models, changes)
            async for case in _tick_case(_steady(changes), place, wire, changed, bench.planner):
                yield case
    if bench.trace is not None:
        return
    points = _points(bench.size_name)
    async with bench.cluster(bench.shape(msgspec.structs.replace(bench.size, pending=0))) as loaded:
        before = 0
        for pending in points:
            await loaded.add(SessionStatus.PENDING, pending - before, GROUP)
            before = pending
            models = PlannedBatch.of(await read_queue(loaded.place), GROWTH_CHANGES).specs or models
            while (batch := PlannedBatch.of(await read_queue(loaded.place), None)).allocations:
                await have_them_run(loaded.place, batch)
            changed = await _draw_changes(loaded.place, models, GROWTH_CHANGES)
            async with counted_wire(loaded.place.url) as wire:
                name, first = _growth_name(pending), _growth_name(points[0])
                async for case in _tick_case(name, loaded.place, wire, changed, bench.planner, first):
                    yield case


async def _draw_changes(place: Place, models: Sequence[SessionCreationSpec], changes: int) -> Changes:
    """Have as many sessions come as others end, half as many as ``changes`` of each."""
    running = await _list_running(place, changes // 2)
    several = min(changes // 2, len(running), len(models))
    return Changes(tuple(models[:several]), running[:several])


async def _tick_case(
    name: str,
    place: Place,
    wire: CountedWire,
    changes: Changes,
    planner: Planner,
    first: Optional[str] = None,
) -> AsyncIterator[Case]:
    """Measure one kind of tick; ``first`` is the case of the shortest queue that it is compared with."""
    async with (
        saved_state(place) as saved,
        open_tickers(place, saved, changes, planner=planner) as timed,
        open_tickers(place.by_way_of(wire), saved, changes) as counted,
    ):
        is_first = name == FIRST
        sides = timed.sides_of_a_first() if is_first else timed.sides_with_full()
        counted_sides = counted.sides_of_a_first() if is_first else counted.sides()

        def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
            found = timed.figures(times, earlier)
            if FULL in times:
                full = times[FULL].median_ms
                found |= {"full_ms": full, "speedup_over_full": full / times[ENGINE].median_ms}
            if first is not None and first in earlier:
                found["times_the_shortest"] = times[ENGINE].median_ms / earlier[first].engine.median_ms
            return found

        yield Case(name, sides, counted_sides, wire, figures=figures)


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


def _growth_name(pending: int) -> str:
    return f"steady, {GROWTH_CHANGES:,} changes of {pending:,} pending"


def _points(size: SizeName) -> tuple[int, ...]:
    return POINTS.get(size, POINTS[SizeName.L])


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size; a trace has none of the growing queue."""
    return (FIRST, PLAN, *map(_steady, CHANGES), *map(_growth_name, _points(size)))


def largest(size: SizeName) -> ClusterSize:
    """Return the size with the longest queue of the suite."""
    return msgspec.structs.replace(SIZES[size], pending=max(SIZES[size].pending, _points(size)[-1]))


TICK: Final = Suite(
    name="tick",
    about="the whole loop: a tick that places much, and steady ones after changes",
    case_names=case_names,
    cases=cases,
    largest=largest,
    takes_trace=True,
    turns=7,
)
