"""Suite ``throughput``: sessions placed per second, end to end, by one loop and by several processes."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.data.saved_state import SavedState, saved_state
from bench.data.sizes import SizeName
from bench.measure.results import ENGINE, FLOOR, PLAIN, CaseResult
from bench.measure.turns import PartlyDone, Side, Times
from bench.measure.wire import counted_wire
from bench.sides.loop_processes import LoopProcesses
from bench.sides.tickers import Changes, Tickers, open_tickers
from bench.sides.writers import BATCH
from bench.suites.suite import Bench, Case, FigureMaker, Suite
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import ScalingGroupName

ONE_LOOP: Final = "one loop"
_ALL_GROUPS: Final = (1, 2, 4)


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure how long it takes until nothing more can be placed; four groups share the cluster evenly."""
    shape = msgspec.structs.replace(bench.shape(), shares=(25, 25, 25, 25))
    async with (
        bench.cluster(shape) as loaded,
        counted_wire(loaded.place.url) as wire,
        saved_state(loaded.place) as saved,
        AsyncExitStack() as stack,
    ):
        placed: dict[str, int] = {}
        timed = await _open_sides(stack, loaded.place, saved, shape.groups, placed)
        counted = await _open_sides(stack, loaded.place.by_way_of(wire), saved, shape.groups, {})
        yield Case(ONE_LOOP, timed.of_one_loop(), counted.of_one_loop(), wire, figures=_rate(placed, ONE_LOOP))
        for groups in _groups(bench.size_name):
            name = _name(groups)
            sides, counted_sides = timed.of_processes(groups), counted.of_processes(groups)
            yield Case(name, sides, counted_sides, wire, figures=_rate(placed, name))


class _Sides(msgspec.Struct, frozen=True):
    """All sides on one place, and how many sessions the engine has placed in each case."""

    place: Place
    saved: SavedState
    groups: tuple[ScalingGroupName, ...]
    loop: SchedulerLoop
    tickers: list[Tickers]
    stack: AsyncExitStack
    placed: dict[str, int]

    def of_one_loop(self) -> dict[str, Side]:
        """Return the sides of one group, the engine's in this process."""

        async def settle() -> None:
            ticks = await self.loop.run_until_settled()
            self.placed[ONE_LOOP] = sum(len(tick.allocated) for tick in ticks)

        return {**self.tickers[0].sides(), ENGINE: Side(settle, after=self.saved.restore)}

    def of_processes(self, count: int) -> dict[str, Side]:
        """Return the sides of several groups at the same time, the engine's in a process for each."""
        processes = LoopProcesses(self.place, self.groups[:count])
        self.stack.push_async_callback(processes.stop)
        tickers = self.tickers[:count]

        async def plan() -> None:
            for each in tickers:
                await each.change_and_plan()

        async def settle() -> None:
            self.placed[_name(count)] = await processes.settle()

        async def settle_barely() -> None:
            await asyncio.gather(*(each.run_bare() for each in tickers))

        async def settle_plainly() -> PartlyDone:
            done = await asyncio.gather(*(each.run_plainly() for each in tickers))
            return max(done, key=lambda each: each.seconds * each.parts)

        restore = self.saved.restore
        return {
            FLOOR: Side(settle_barely, before=plan, after=restore),
            ENGINE: Side(settle, before=processes.start, after=restore),
            PLAIN: Side(settle_plainly, before=plan, after=restore, turns=1),
        }


async def _open_sides(
    stack: AsyncExitStack,
    place: Place,
    saved: SavedState,
    groups: tuple[ScalingGroupName, ...],
    placed: dict[str, int],
) -> _Sides:
    engine = await stack.enter_async_context(place.engine())
    repository = SchedulerRepository(SchedulerDBSource(engine))
    loop = SchedulerLoop(repository, BestFitPlanner(), GROUP, batch_size=BATCH)
    tickers = [
        await stack.enter_async_context(open_tickers(place, saved, Changes(), group)) for group in groups
    ]
    return _Sides(place, saved, groups, loop, tickers, stack, placed)


def _rate(placed: Mapping[str, int], name: str) -> FigureMaker:
    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        rate = placed[name] / times[ENGINE].median_ms * 1000
        found = {"placed": placed[name], "sessions_per_second": rate}
        first = earlier.get(_name(1))
        if first is not None:
            found["times_one_group"] = rate / first.figures["sessions_per_second"]
        return found

    return figures


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size."""
    return (ONE_LOOP, *map(_name, _groups(size)))


def _groups(size: SizeName) -> tuple[int, ...]:
    # The smallest is for tests, where each process takes longer to start than to work.
    return _ALL_GROUPS[:2] if size is SizeName.XS else _ALL_GROUPS


def _name(groups: int) -> str:
    return "1 group, 1 process" if groups == 1 else f"{groups} groups, {groups} processes"


THROUGHPUT: Final = Suite(
    name="throughput",
    about="sessions placed per second, by one loop and by several processes",
    case_names=case_names,
    cases=cases,
    turns=3,
    not_profiled="its loops run in processes of their own; profile tick",
)
