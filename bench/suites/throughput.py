"""Suite ``throughput``: sessions placed per second, end to end, by one loop and by several processes."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bench.data.cluster import GROUP
from bench.data.saved_state import SavedState, saved_state
from bench.data.sizes import SizeName
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Side, Times
from bench.sides.loop_processes import LoopProcesses
from bench.sides.tickers import Changes, open_tickers
from bench.sides.writers import BATCH
from bench.suites.suite import Bench, Case, FigureMaker, Suite
from scheduler_repo.loop import SchedulerLoop
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner

ONE_LOOP: Final = "one loop"
_ALL_GROUPS: Final = (1, 2, 4)


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure how long it takes until nothing more can be placed; four groups share the cluster evenly."""
    shape = msgspec.structs.replace(bench.shape(), shares=(25, 25, 25, 25))
    async with bench.cluster(shape) as loaded, saved_state(loaded.place) as saved, AsyncExitStack() as stack:
        place = loaded.place
        engine = await stack.enter_async_context(place.engine())
        tickers = await stack.enter_async_context(open_tickers(place, saved, Changes()))
        loop = SchedulerLoop(
            SchedulerRepository(SchedulerDBSource(engine)), BestFitPlanner(), GROUP, batch_size=BATCH
        )
        placed: dict[str, int] = {}

        async def settle() -> None:
            placed[ONE_LOOP] = sum(len(tick.allocated) for tick in await loop.run_until_settled())

        sides = {**tickers.sides(), ENGINE: Side(settle, after=saved.restore)}
        yield Case(ONE_LOOP, sides, figures=_rate(placed, ONE_LOOP))
        for groups in _groups(bench.size_name):
            name = _name(groups)
            processes = LoopProcesses(place, shape.groups[:groups])
            sides = {ENGINE: _processes_side(processes, saved, placed, name)}
            yield Case(name, sides, figures=_rate(placed, name))


def _processes_side(processes: LoopProcesses, saved: SavedState, placed: dict[str, int], name: str) -> Side:
    async def run() -> None:
        placed[name] = await processes.settle()

    async def after() -> None:
        await processes.stop()
        await saved.restore()

    return Side(run, before=processes.start, after=after)


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
)
