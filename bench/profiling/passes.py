"""Runs one case under each instrument in turn; none is there while another measures."""

from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter
from typing import Final, Optional

import msgspec

from bench.measure.results import ENGINE
from bench.measure.turns import Side, clear_up_side, prepare_side, run_side, spare_collector
from bench.profiling.allocations import AllocationRecorder
from bench.profiling.blocks import BlockFinder
from bench.profiling.frames import HotFrame, hottest
from bench.profiling.kept import CaseProfile, Graphs
from bench.profiling.phases import Phase, Turn, make_phases
from bench.profiling.plans import PlanCollector, StatementPlan, scaled
from bench.profiling.sampling import Sampler
from bench.profiling.trace import Trace, TracedPlanner
from bench.suites.runner import OnTurn
from bench.suites.suite import Case

# A second of samples, twice a millisecond, shows what takes a hundredth of the time.
_SAMPLED_SECONDS: Final = 1.0
# What is undone between the turns takes its time too.
_LONGEST_SAMPLING: Final = 5.0
_HOTTEST: Final = 25
_MILLISECONDS: Final = 1000


async def profile_case(
    case: Case, trace: Trace, planner: TracedPlanner, turns: int, on_turn: OnTurn
) -> tuple[CaseProfile, Graphs]:
    """Profile the engine's side of a case: ``turns`` timed turns, and some more under each instrument."""
    side = case.sides[ENGINE]
    # Timed, explained, watched, sampled and recorded. What samples keep would lengthen the collections that
    # are watched.
    total = turns + 4
    on_turn(case.name, 0, total)
    for _ in range(2):
        # Statements are prepared, caches full.
        await run_side(side)
    with spare_collector():
        timed = []
        for number in range(turns):
            timed.append(await _time(side, trace))
            on_turn(case.name, number + 1, total)
        plans = await _explain(side, trace)
        on_turn(case.name, turns + 1, total)
        finder = BlockFinder()
        for _ in range(turns):
            await _with(side, lambda: finder.watch(side.run))
        on_turn(case.name, turns + 2, total)
        sampler, sampled = await _sample(side, planner)
        on_turn(case.name, turns + 3, total)
        recorder = await _record(side)
        on_turn(case.name, total, total)
    times = [(turn.ended - turn.started) * side.parts * _MILLISECONDS for turn in timed]
    graphs = Graphs(sampler.trees(sampled, side.parts), recorder.tree)
    phases = make_phases(timed, side.parts)
    profile = CaseProfile(
        name=case.name,
        turns=turns,
        total_ms=round(median(times), 4),
        min_ms=round(min(times), 4),
        max_ms=round(max(times), 4),
        phases=tuple(_with_work(phase, plans, side.parts) for phase in phases),
        plans=scaled(plans, side.parts),
        blocks=finder.longest,
        hottest=_hottest_of_all(graphs),
        allocated=hottest(recorder.tree, _HOTTEST),
        peak_bytes=round(recorder.tree.amount),
    )
    return profile, graphs


def _hottest_of_all(graphs: Graphs) -> tuple[HotFrame, ...]:
    """Find the functions that took the most themselves, in any thread; shares are of their thread's time."""
    found = [frame for tree in graphs.time.values() for frame in hottest(tree, _HOTTEST)]
    return tuple(sorted(found, key=lambda frame: -frame.amount)[:_HOTTEST])


async def _with(side: Side, call: Callable[[], Awaitable[object]]) -> None:
    await prepare_side(side)
    try:
        await call()
    finally:
        await clear_up_side(side)


async def _time(side: Side, trace: Trace) -> Turn:
    await prepare_side(side)
    try:
        trace.begin()
        started = perf_counter()
        answer = await side.run()
        ended = perf_counter()
        del answer
    finally:
        events = trace.end()
        await clear_up_side(side)
    return Turn(started, ended, tuple(event for event in events if event.ended <= ended))


async def _explain(side: Side, trace: Trace) -> tuple[StatementPlan, ...]:
    collector = PlanCollector()

    async def call() -> None:
        trace.before_statement = collector.explain
        try:
            await side.run()
        finally:
            trace.before_statement = None

    await _with(side, call)
    return collector.plans


async def _sample(side: Side, planner: TracedPlanner) -> tuple[Sampler, int]:
    sampler, turns, spent, began = Sampler(), 0, 0.0, perf_counter()

    async def call() -> None:
        nonlocal spent
        started = perf_counter()
        planner.around = sampler.around_plan
        try:
            with sampler.sampling():
                await side.run()
        finally:
            planner.around = None
            spent += perf_counter() - started

    while turns == 0 or (spent < _SAMPLED_SECONDS and perf_counter() - began < _LONGEST_SAMPLING):
        await _with(side, call)
        turns += 1
    return sampler, turns


async def _record(side: Side) -> AllocationRecorder:
    recorder = AllocationRecorder()

    async def call() -> None:
        with recorder.recording():
            await side.run()

    await _with(side, call)
    return recorder


def _with_work(phase: Phase, plans: tuple[StatementPlan, ...], parts: float) -> Phase:
    """Take the server's time of a statement from its plan, where that is less than its clock says.

    For a long answer the clock runs on while the server waits for the client to read.
    """
    works = [each.work_ms * parts for each in plans if (each.section, each.name) == (phase.section, phase.name)]
    work: Optional[float] = works[0] if works else None
    if work is None or phase.is_python:
        return phase
    return msgspec.structs.replace(
        phase, server_ms=work if phase.server_ms is None else min(work, phase.server_ms)
    )
