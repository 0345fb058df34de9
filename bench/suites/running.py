"""Suite ``running``: what a read and an allocation cost as the cluster fills."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from bench.data.saved_state import saved_state
from bench.data.sizes import SIZES, ClusterSize, SizeName, count_sessions
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Times
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.sides.writers import PlannedBatch, in_one_call, open_writers, read_queue
from bench.suites.suite import Bench, Case, FigureMaker, Suite
from scheduler_repo.types import SessionStatus

# Running kernels of all groups.
POINTS: Final[Mapping[SizeName, tuple[int, ...]]] = {
    SizeName.XS: (40, 80),
    SizeName.S: (500, 2_000),
    SizeName.M: (1_000, 5_000, 20_000),
    SizeName.L: (1_000, 10_000, 100_000),
    SizeName.XL: (1_000, 10_000, 100_000),
}
_ALLOCATED: Final = 100


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure the same cluster with more and more running kernels; its agents have room for all of them."""
    points = POINTS[bench.size_name]
    size = msgspec.structs.replace(bench.size, running=0)
    shape = msgspec.structs.replace(bench.shape(size), most_running=count_sessions(points[-1]))
    async with bench.cluster(shape) as loaded, counted_wire(loaded.place.url) as wire:
        place, counted_place = loaded.place, loaded.place.by_way_of(wire)
        before = 0
        for kernels in points:
            await loaded.add(SessionStatus.RUNNING, count_sessions(kernels) - before)
            before = count_sessions(kernels)
            async with open_readers(place) as readers, open_readers(counted_place) as counted:
                figures = _growth(_read_name(points[0]), kernels)
                yield Case(_read_name(kernels), readers.sides(), counted.sides(), wire, figures=figures)
            batch = PlannedBatch.of(await read_queue(place), _ALLOCATED)
            async with AsyncExitStack() as stack:
                saved = await stack.enter_async_context(saved_state(place))
                timed = await stack.enter_async_context(open_writers(place, saved))
                counting = await stack.enter_async_context(open_writers(counted_place, saved))
                call = in_one_call(batch.allocations)
                figures = _growth(_allocate_name(points[0]), kernels)
                sides = timed.allocate(batch, call)
                yield Case(
                    _allocate_name(kernels), sides, counting.allocate(batch, call), wire, figures=figures
                )


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size."""
    return tuple(name for kernels in POINTS[size] for name in (_read_name(kernels), _allocate_name(kernels)))


def _read_name(kernels: int) -> str:
    return f"read, {kernels:,} running"


def _allocate_name(kernels: int) -> str:
    return f"allocate, {kernels:,} running"


def _growth(first_name: str, kernels: int) -> FigureMaker:
    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        own: dict[str, float] = {"running_kernels": kernels}
        if first_name not in earlier:
            return own
        return {**own, "times_the_emptiest": times[ENGINE].median_ms / earlier[first_name].engine.median_ms}

    return figures


def largest(size: SizeName) -> ClusterSize:
    """Return the size with all that runs in the suite."""
    return msgspec.structs.replace(SIZES[size], running=count_sessions(POINTS[size][-1]))


RUNNING: Final = Suite(
    name="running",
    about="a read and an allocation of 100 sessions as the cluster fills",
    case_names=case_names,
    cases=cases,
    largest=largest,
    turns=9,
)
