"""Suite ``write``: placing, enqueueing and ending sessions, a batch in one call or one at a time."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack
from typing import Final

from bench.data.place import Place
from bench.data.saved_state import SavedState, saved_state
from bench.measure.results import ENGINE, CaseResult
from bench.measure.turns import Times
from bench.measure.wire import CountedWire, counted_wire
from bench.sides.writers import (
    PlannedBatch,
    Writers,
    have_them_run,
    in_one_call,
    one_by_one,
    open_writers,
    read_queue,
)
from bench.suites.suite import Bench, Case, FigureMaker, Suite, always

ALLOCATE, ALLOCATE_ONE = "allocate a batch", "allocate one"
ENQUEUE, ENQUEUE_ONE = "enqueue a batch", "enqueue one"
END, END_ONE = "terminate a batch", "terminate one"
BEAT: Final = "heartbeats of all agents"


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure writes to one cluster; each turn is undone."""
    async with bench.cluster() as loaded, counted_wire(loaded.place.url) as wire:
        place = loaded.place
        batch = PlannedBatch.of(await read_queue(place))
        async with AsyncExitStack() as stack:
            saved = await stack.enter_async_context(saved_state(place))
            timed, counted = await _open_both(stack, place, wire, saved)
            placed, specs = batch.allocations, batch.specs
            several, single = in_one_call(placed), one_by_one(placed)
            figures = _of_batch(len(placed))
            yield Case(
                ALLOCATE,
                timed.allocate(batch, several),
                counted.allocate(batch, several),
                wire,
                figures=figures,
            )
            figures = _of_one(ALLOCATE, len(placed))
            yield Case(
                ALLOCATE_ONE,
                timed.allocate(batch, single),
                counted.allocate(batch, single),
                wire,
                figures=figures,
            )
            many, lone = in_one_call(specs), one_by_one(specs)
            figures = _of_batch(len(specs))
            yield Case(ENQUEUE, timed.enqueue(batch, many), counted.enqueue(batch, many), wire, figures=figures)
            figures = _of_one(ENQUEUE, len(specs))
            yield Case(
                ENQUEUE_ONE, timed.enqueue(batch, lone), counted.enqueue(batch, lone), wire, figures=figures
            )
            yield Case(
                BEAT, timed.beat(batch), counted.beat(batch), wire, figures=_of_batch(len(batch.agent_ids))
            )
        await have_them_run(place, batch)
        async with AsyncExitStack() as stack:
            saved = await stack.enter_async_context(saved_state(place))
            timed, counted = await _open_both(stack, place, wire, saved)
            figures = _of_batch(len(placed))
            yield Case(END, timed.end(batch, several), counted.end(batch, several), wire, figures=figures)
            figures = _of_one(END, len(placed))
            yield Case(END_ONE, timed.end(batch, single), counted.end(batch, single), wire, figures=figures)


async def _open_both(
    stack: AsyncExitStack, place: Place, wire: CountedWire, saved: SavedState
) -> tuple[Writers, Writers]:
    timed = await stack.enter_async_context(open_writers(place, saved))
    return timed, await stack.enter_async_context(open_writers(place.by_way_of(wire), saved))


def _of_batch(count: int) -> FigureMaker:
    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        return {"in_one_call": count, "ms_each": times[ENGINE].median_ms / count}

    return figures


def _of_one(batch_name: str, count: int) -> FigureMaker:
    def figures(times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        if batch_name not in earlier:
            return {}
        return {"speedup_of_a_batch": times[ENGINE].median_ms * count / earlier[batch_name].engine.median_ms}

    return figures


WRITE: Final = Suite(
    name="write",
    about="placing, enqueueing and ending sessions, a batch in one call and one at a time",
    case_names=always(ALLOCATE, ALLOCATE_ONE, ENQUEUE, ENQUEUE_ONE, BEAT, END, END_ONE),
    cases=cases,
    takes_trace=True,
    turns=9,
)
