"""Suite ``growth``: what a read and an enqueue cost as the queue grows."""

import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bench.data.cluster import GROUP
from bench.data.saved_state import saved_state
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Times
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.sides.writers import PlannedBatch, in_one_call, open_writers, read_queue
from bench.suites.suite import Bench, Case, FigureMaker, Suite
from scheduler_repo.types import SessionStatus

# Pending sessions of the group that is measured.
POINTS: Final[Mapping[SizeName, tuple[int, ...]]] = {
    SizeName.XS: (50, 100),
    SizeName.S: (1_000, 2_000, 4_000),
    SizeName.M: (1_000, 5_000, 20_000, 50_000),
    SizeName.L: (1_000, 10_000, 50_000, 200_000),
    SizeName.XL: (1_000, 10_000, 50_000, 200_000),
}
_ENQUEUED: Final = 100


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure the same group with more and more pending sessions."""
    points = POINTS[bench.size_name]
    shape = bench.shape(msgspec.structs.replace(bench.size, pending=0))
    async with bench.cluster(shape) as loaded, counted_wire(loaded.place.url) as wire:
        place, counted_place = loaded.place, loaded.place.by_way_of(wire)
        before = 0
        for pending in points:
            await loaded.add(SessionStatus.PENDING, pending - before, GROUP)
            before = pending
            async with open_readers(place) as readers, open_readers(counted_place) as counted:
                figures = _growth(_read_name(points[0]), points[0], pending)
                sides = readers.sides(plain_turns=1)
                yield Case(_read_name(pending), sides, counted.sides(), wire, figures=figures)
            batch = PlannedBatch.of(await read_queue(place), _ENQUEUED)
            async with AsyncExitStack() as stack:
                saved = await stack.enter_async_context(saved_state(place))
                timed = await stack.enter_async_context(open_writers(place, saved))
                counting = await stack.enter_async_context(open_writers(counted_place, saved))
                call = in_one_call(batch.specs)
                figures = _growth(_enqueue_name(points[0]), points[0], pending)
                sides = timed.enqueue(batch, call)
                yield Case(_enqueue_name(pending), sides, counting.enqueue(batch, call), wire, figures=figures)


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size."""
    return tuple(name for pending in POINTS[size] for name in (_read_name(pending), _enqueue_name(pending)))


def _read_name(pending: int) -> str:
    return f"read, {pending:,} pending"


def _enqueue_name(pending: int) -> str:
    return f"enqueue, {pending:,} pending"


def _growth(first_name: str, first: int, pending: int) -> FigureMaker:
    """Compare with the shortest queue: ``slope`` is 1 where twice the queue takes twice as long."""

    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        own: dict[str, float] = {"pending": pending}
        if first_name not in earlier:
            return own
        growth = times[ENGINE].median_ms / earlier[first_name].engine.median_ms
        return {**own, "times_the_shortest": growth, "slope": math.log(growth) / math.log(pending / first)}

    return figures


def largest(size: SizeName) -> ClusterSize:
    """Return the size with the longest queue of the suite."""
    return msgspec.structs.replace(SIZES[size], pending=POINTS[size][-1])


GROWTH: Final = Suite(
    name="growth",
    about="a read and an enqueue of 100 sessions as the queue grows",
    case_names=case_names,
    cases=cases,
    largest=largest,
    turns=7,
)
