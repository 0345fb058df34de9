"""Suite ``history``: what has finished changes nothing; with it and without it, in turns on two clusters."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bench.data.saved_state import saved_state
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Side, Times
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.sides.writers import PlannedBatch, in_one_call, open_writers, read_queue
from bench.suites.suite import Bench, Case, Suite
from scheduler_repo.types import SessionStatus

# Finished sessions of all groups.
POINTS: Final[Mapping[SizeName, tuple[int, ...]]] = {
    SizeName.XS: (200, 400),
    SizeName.S: (10_000, 40_000),
    SizeName.M: (100_000, 500_000),
    SizeName.L: (500_000, 2_000_000),
    SizeName.XL: (500_000, 2_000_000),
}
_NONE: Final = "none"
_ALLOCATED: Final = 100


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure a cluster on which more and more has finished, beside the same one on which nothing has."""
    shape = bench.shape(msgspec.structs.replace(bench.size, finished=0))
    async with bench.cluster(shape) as empty, bench.cluster(shape) as full, AsyncExitStack() as stack:
        wire = await stack.enter_async_context(counted_wire(full.place.url))
        without = await stack.enter_async_context(open_readers(empty.place))
        batch_without = PlannedBatch.of(await without.read(), _ALLOCATED)
        empty_state = await stack.enter_async_context(saved_state(empty.place))
        writers_without = await stack.enter_async_context(open_writers(empty.place, empty_state))
        before = 0
        for finished in POINTS[bench.size_name]:
            await full.add(SessionStatus.TERMINATED, finished - before)
            before = finished
            counted_place = full.place.by_way_of(wire)
            async with open_readers(full.place) as readers, open_readers(counted_place) as counted:
                sides = _beside(readers.sides(plain_turns=1), without.sides())
                yield Case(_read_name(finished), sides, counted.sides(), wire, figures=_ratio)
            batch = PlannedBatch.of(await read_queue(full.place), _ALLOCATED)
            async with AsyncExitStack() as inner:
                saved = await inner.enter_async_context(saved_state(full.place))
                timed = await inner.enter_async_context(open_writers(full.place, saved))
                counting = await inner.enter_async_context(open_writers(counted_place, saved))
                call = in_one_call(batch.allocations)
                sides_without = writers_without.allocate(batch_without, in_one_call(batch_without.allocations))
                sides = _beside(timed.allocate(batch, call), sides_without)
                counted_sides = counting.allocate(batch, call)
                yield Case(_allocate_name(finished), sides, counted_sides, wire, figures=_ratio)


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size."""
    return tuple(name for finished in POINTS[size] for name in (_read_name(finished), _allocate_name(finished)))


def _read_name(finished: int) -> str:
    return f"read, {finished:,} finished"


def _allocate_name(finished: int) -> str:
    return f"allocate, {finished:,} finished"


def _beside(full: Mapping[str, Side], empty: Mapping[str, Side]) -> dict[str, Side]:
    return {**full, _NONE: empty[ENGINE]}


def _ratio(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
    without = times[_NONE].median_ms
    return {"without_history_ms": without, "ratio_to_no_history": times[ENGINE].median_ms / without}


def largest(size: SizeName) -> ClusterSize:
    """Return the size with all that finishes in the suite."""
    return msgspec.structs.replace(SIZES[size], finished=POINTS[size][-1])


HISTORY: Final = Suite(
    name="history",
    about="a read and an allocation of 100 sessions as more and more has finished",
    case_names=case_names,
    cases=cases,
    largest=largest,
    turns=9,
)
