"""Suite ``delta``: a refresh by what has changed, against reading everything, and as the queue grows."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import msgspec

from bench.data.cluster import GROUP
from bench.data.sizes import SIZES, ClusterSize, SizeName
from bench.measure.memory import weigh
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Times
from bench.measure.wire import CountedWire, counted_wire
from bench.sides.refreshers import FULL, Beginners, Refreshers, open_beginners, open_refreshers
from bench.suites.suite import Bench, Case, FigureMaker, LoadedCluster, Suite
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.embedded.ready import starting
from scheduler_repo.types import SessionStatus

CHANGES: Final = (0, 1, 100, 1_000)
# Pending sessions of the group as it grows, and what changes of them.
POINTS: Final[Mapping[SizeName, tuple[int, ...]]] = {
    SizeName.XS: (50, 100),
    SizeName.S: (1_000, 4_000),
    SizeName.M: (1_000, 10_000),
    SizeName.L: (1_000, 10_000, 100_000),
    SizeName.XL: (1_000, 10_000, 100_000),
}
# What changes within some seconds, until the next process starts.
_BEGUN_CHANGES: Final = 100
_BEGUN_TURNS: Final = 9
_GROWTH_CHANGES: Final = {SizeName.XS: 10}


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure refreshes of the cluster of the size, then of one group with more and more pending sessions."""
    # The group that is measured holds a part of what waits: what the others hold waits in it too.
    elsewhere = bench.size.pending - bench.shape().split(bench.size.pending)[0]
    async with bench.cluster() as loaded:
        await loaded.add(SessionStatus.PENDING, elsewhere, GROUP)
        async for case in _changed_cases(bench, loaded):
            yield case
    async for case in _growing_cases(bench):
        yield case


async def _changed_cases(bench: Bench, loaded: LoadedCluster) -> AsyncGenerator[Case, None]:
    async with _opened(loaded) as (refreshers, counted, wire):
        pending = await refreshers.count_pending()
        weight = await weigh(refreshers.hold_anew)
        held = {"pending": pending, "bytes_per_session": weight.kept / pending}
        for changes in _changes(bench.size_name):
            sides, counted_sides = refreshers.sides(changes), counted.sides(changes)
            yield Case(_name(changes), sides, counted_sides, wire, figures=_against_full(held))
        begun = _begun_changes(bench.size_name)
        async with _opened_beginners(loaded, bench) as (beginners, counted_beginners, wire):
            sides, counted_sides = beginners.sides(begun), counted_beginners.sides(begun)
            figures = _against_full({"pending": pending})
            yield Case(_begun_name(begun), sides, counted_sides, wire, turns=_BEGUN_TURNS, figures=figures)


async def _growing_cases(bench: Bench) -> AsyncGenerator[Case, None]:
    points = POINTS[bench.size_name]
    changes = _GROWTH_CHANGES.get(bench.size_name, 100)
    shape = bench.shape(msgspec.structs.replace(bench.size, pending=0))
    async with bench.cluster(shape) as loaded:
        before = 0
        for pending in points:
            await loaded.add(SessionStatus.PENDING, pending - before, GROUP)
            before = pending
            async with _opened(loaded) as (refreshers, counted, wire):
                name, first = (_growth_name(changes, each) for each in (pending, points[0]))
                sides, counted_sides = refreshers.sides(changes), counted.sides(changes)
                yield Case(name, sides, counted_sides, wire, figures=_growth(first, pending))


@asynccontextmanager
async def _opened(loaded: LoadedCluster) -> AsyncIterator[tuple[Refreshers, Refreshers, CountedWire]]:
    async with (
        counted_wire(loaded.place.url) as wire,
        open_refreshers(loaded.place) as refreshers,
        open_refreshers(loaded.place.by_way_of(wire)) as counted,
    ):
        yield refreshers, counted, wire


@asynccontextmanager
async def _opened_beginners(
    loaded: LoadedCluster, bench: Bench
) -> AsyncIterator[tuple[Beginners, Beginners, CountedWire]]:
    valkey = EmbeddedValkey()
    async with counted_wire(loaded.place.url) as wire, starting([valkey]) as started:
        await started
        async with (
            open_beginners(loaded.place, valkey.url, bench.on_redis) as beginners,
            open_beginners(loaded.place.by_way_of(wire), valkey.url) as counted,
        ):
            yield beginners, counted, wire


def case_names(size: SizeName) -> tuple[str, ...]:
    """Name the cases of a size."""
    changes = _GROWTH_CHANGES.get(size, 100)
    growing = tuple(_growth_name(changes, pending) for pending in POINTS[size])
    return (*map(_name, _changes(size)), _begun_name(_begun_changes(size)), *growing)


def _changes(size: SizeName) -> tuple[int, ...]:
    most = SIZES[size].pending // 20
    return tuple(changes for changes in CHANGES if changes <= most)


def _begun_changes(size: SizeName) -> int:
    return max(each for each in _changes(size) if each <= _BEGUN_CHANGES)


def _begun_name(changes: int) -> str:
    return f"begun from Redis, {changes:,} changed"


def _name(changes: int) -> str:
    return f"{changes:,} changed" if changes else "unchanged"


def _growth_name(changes: int, pending: int) -> str:
    return f"{changes:,} changed of {pending:,} pending"


def _against_full(held: Mapping[str, float]) -> FigureMaker:
    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        full = times[FULL].median_ms
        return {**held, "full_ms": full, "speedup_over_full": full / times[ENGINE].median_ms}

    return figures


def _growth(first_name: str, pending: int) -> FigureMaker:
    """Compare with the shortest queue."""

    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        own = {**_against_full({"pending": pending})(times, earlier)}
        if first_name in earlier:
            own["times_the_shortest"] = times[ENGINE].median_ms / earlier[first_name].engine.median_ms
        return own

    return figures


def largest(size: SizeName) -> ClusterSize:
    """Return the size with the longest queue of the suite."""
    return msgspec.structs.replace(SIZES[size], pending=max(SIZES[size].pending, POINTS[size][-1]))


DELTA: Final = Suite(
    name="delta",
    about="bringing a group's state up to date by what has changed, against reading it",
    case_names=case_names,
    cases=cases,
    largest=largest,
    turns=21,
)
