"""Suite ``stall``: the longest time for which the event loop was blocked, by a read and by a batch."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping
from time import thread_time
from typing import Final

import msgspec

from bench.data.saved_state import saved_state
from bench.measure.results import ENGINE, CaseResult
from bench.measure.stall import Block, sum_up, sum_up_work, watched_loop
from bench.measure.turns import Side, Times
from bench.measure.wire import counted_wire
from bench.sides.readers import open_readers
from bench.sides.writers import PlannedBatch, in_one_call, open_writers, read_queue
from bench.suites.suite import Bench, Case, Suite, always

READ, ALLOCATE = "full read", "allocate a batch"


async def cases(bench: Bench) -> AsyncGenerator[Case, None]:
    """Measure how long each side keeps the loop from everything else."""
    async with bench.cluster() as loaded, counted_wire(loaded.place.url) as wire:
        place, counted_place = loaded.place, loaded.place.by_way_of(wire)
        async with open_readers(place) as readers, open_readers(counted_place) as counted_readers:
            watched = _Watched(readers.sides())
            yield Case(READ, watched.sides, counted_readers.sides(), wire, figures=watched.figures)
        batch = PlannedBatch.of(await read_queue(place))
        call = in_one_call(batch.allocations)
        async with (
            saved_state(place) as saved,
            open_writers(place, saved) as writers,
            open_writers(counted_place, saved) as counted,
        ):
            watched = _Watched(writers.allocate(batch, call))
            yield Case(ALLOCATE, watched.sides, counted.allocate(batch, call), wire, figures=watched.figures)


class _Watched:
    """Sides of a case, run while the loop is watched, and what was seen."""

    def __init__(self, sides: Mapping[str, Side]) -> None:
        self._seen: defaultdict[str, list[list[Block]]] = defaultdict(list)
        self.sides = {name: self._watch(name, side) for name, side in sides.items()}

    def figures(self, times: Mapping[str, Times], earlier: Mapping[str, CaseResult]) -> dict[str, float]:
        """Sum the engine's blocks up, and name the longest of the other sides; the warm-up does not count."""
        found = sum_up(self._seen[ENGINE][1:])
        read = earlier[READ].engine if READ in earlier else times[ENGINE]
        found["share_of_a_read"] = found["longest_block_ms"] / read.median_ms
        found["usual_longest_work_ms"] = sum_up_work(self._seen[ENGINE][1:])
        found["usual_share_of_a_read"] = found["usual_longest_block_ms"] / read.median_ms
        for name, turns in self._seen.items():
            if name != ENGINE:
                found[f"{name}_longest_block_ms"] = sum_up(turns[1:])["longest_block_ms"]
        return found

    def _watch(self, name: str, side: Side) -> Side:
        async def run() -> object:
            with watched_loop(thread_time) as watch:
                answer = await side.run()
                # In this turn the collector looks at what a read has made.
                await asyncio.sleep(0)
            self._seen[name].append(watch.blocks)
            return answer

        return msgspec.structs.replace(side, run=run)


STALL: Final = Suite(
    name="stall",
    about="the longest time for which a read and a batch block the event loop",
    case_names=always(READ, ALLOCATE),
    cases=cases,
    takes_trace=True,
    turns=9,
    not_profiled="it keeps the event loop busy to watch it; profile read or write, which show the blocks too",
)
