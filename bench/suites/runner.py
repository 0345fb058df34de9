"""Running cases and suites."""

from collections.abc import Callable, Mapping
from contextlib import aclosing
from typing import Final, Optional

import msgspec

from bench.data.servers import place_on
from bench.measure.machine import describe_machine
from bench.measure.results import CaseResult, SuiteResult
from bench.measure.turns import Side, Turns, run_side, spare_collector
from bench.measure.wire import CountedWire, WireCounts
from bench.suites.suite import Bench, Case, Suite

# Called with the name of a case, the turns that it has had, and all of its turns.
OnTurn = Callable[[str, int, int], None]
# The size of a cluster that was not made to one.
TRACE: Final = "trace"


class CaseRun:
    """The turns of one case, taken one by one by whoever has it."""

    def __init__(self, case: Case, turns: int) -> None:
        """Plan ``turns`` turns, unless the case says how many."""
        self.case = case
        self.rounds = turns if case.turns is None else min(case.turns, turns)
        self.turns = Turns(case.sides, self.rounds)

    async def finish(self, earlier: Mapping[str, CaseResult]) -> CaseResult:
        """Count what each side sends, work the case's own figures out, and return all of it."""
        times = self.turns.times()
        counts = {}
        if self.case.wire is not None:
            for name, side in self.case.counted.items():
                counts[name] = await _count(side, self.case.wire)
        return CaseResult(self.case.name, times, counts, self.case.figures(times, earlier))


async def run_case(
    case: Case, turns: int, earlier: Mapping[str, CaseResult], on_turn: OnTurn = lambda name, done, total: None
) -> CaseResult:
    """Measure one case, all sides in turns."""
    run = CaseRun(case, turns)
    on_turn(case.name, 0, run.rounds)
    await run.turns.warm_up()
    for done in range(1, run.rounds + 1):
        await run.turns.take_all()
        on_turn(case.name, done, run.rounds)
    return await run.finish(earlier)


async def run_suite(
    suite: Suite, bench: Bench, turns: Optional[int] = None, on_turn: OnTurn = lambda name, done, total: None
) -> SuiteResult:
    """Measure all cases of a suite; ``turns`` are as many as the suite wants unless given."""
    async with place_on(bench.server) as place:
        machine = await describe_machine(place)
    results: dict[str, CaseResult] = {}
    async with aclosing(suite.cases(bench)) as cases:
        async for case in cases:
            with spare_collector():
                results[case.name] = await run_case(case, turns or suite.turns, results, on_turn)
    size = bench.size_name.value if bench.trace is None else TRACE
    return SuiteResult(suite.name, size, machine, tuple(results.values()))


async def _count(side: Side, wire: CountedWire) -> WireCounts:
    """Count what one run of a side sends, once its statements are prepared."""
    await run_side(side)
    if side.before is not None:
        await side.before()
    before = wire.counts
    try:
        await side.run()
    finally:
        if side.after is not None:
            await side.after()
    found = wire.counts.since(before)
    return WireCounts(*(round(count * side.parts) for count in msgspec.structs.astuple(found)))
