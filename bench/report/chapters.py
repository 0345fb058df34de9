"""What a report shows of the results that it is given: its headline figures, and its plots by chapter."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Optional

import msgspec

from bench.cli.tables import format_figure
from bench.measure.results import ENGINE
from bench.report.plots import (
    Plot,
    draw_bars,
    draw_cases,
    draw_quantiles,
    draw_series,
    draw_shares,
)
from bench.report.saved import SIDES, SavedCase, SavedSuite
from bench.report.scales import write_bytes, write_count, write_milliseconds, write_times
from bench.thresholds import Threshold
from scheduler_repo.loop.tick import TickTimes

_QUANTILES: Final = {
    "median": "median_block_ms",
    "90 %": "block_p90_ms",
    "99 %": "block_p99_ms",
    "usual": "usual_longest_block_ms",
    "longest": "longest_block_ms",
}


class Headline(msgspec.Struct, frozen=True):
    """One figure to begin with, and what it is."""

    figure: str
    says: str


class Chapter(msgspec.Struct, frozen=True):
    """Plots that answer one question."""

    anchor: str
    title: str
    says: str
    plots: tuple[Plot, ...]


class Verdict(msgspec.Struct, frozen=True):
    """A threshold and what was found."""

    suite: str
    case: str
    figure: str
    found: str
    bound: str
    is_kept: bool
    reason: str


class _Measure(msgspec.Struct, frozen=True):
    """A figure of cases that is drawn as bars; the other sides' is named ``SIDE_figure``."""

    figure: str
    title: str
    says: str
    write: Callable[[float], str]


_MEASURES: Final = (
    _Measure(
        "longest_block_ms",
        "the longest block of the event loop",
        "For so long nothing else ran in the process; what Python's collector took is left out.",
        write_milliseconds,
    ),
    _Measure(
        "bytes_per_session",
        "memory that an answer keeps, per pending session",
        "What a read has allocated and its answer still holds, with kernels, agents and owners.",
        write_bytes,
    ),
    _Measure(
        "peak_bytes_per_session",
        "the peak of memory, per pending session",
        "The most that a read holds at a time, its answer included.",
        write_bytes,
    ),
    _Measure(
        "sessions_per_second",
        "sessions placed per second",
        "From the first read to the last COMMIT, until nothing more can be placed.",
        write_count,
    ),
    _Measure(
        "added_us",
        "what the policies add to a call, in µs",
        "A call that does nothing, within the policies, less the same call alone.",
        write_count,
    ),
)


def choose_headlines(suites: Iterable[SavedSuite]) -> tuple[Headline, ...]:
    """Choose the figures to begin with, of the suites that there are."""
    by_name = {suite.suite: suite for suite in suites}

    def figures_of(suite: str, case: str) -> Mapping[str, float]:
        found = by_name[suite].case(case) if suite in by_name else None
        return {} if found is None else found.figures

    read, batch = figures_of("read", "full read"), figures_of("write", "allocate a batch")
    still, loop = figures_of("tick", "steady, 0 changes"), figures_of("throughput", "one loop")
    memory, stall = figures_of("memory", "full read"), figures_of("stall", "full read")
    pending, placed = f"{read.get('pending', 0):,.0f}", f"{batch.get('in_one_call', 0):,.0f}"
    wanted = (
        (read.get("median_ms"), write_milliseconds, f"to read a group with {pending} pending sessions"),
        (read.get("speedup_over_plain"), write_times, "faster than the plain way with an ORM"),
        (read.get("ratio_to_floor"), write_times, "the raw driver's time for the same statements"),
        (batch.get("median_ms"), write_milliseconds, f"to place {placed} sessions in one call"),
        (still.get("median_ms"), write_milliseconds, "for a tick in which nothing changes"),
        (loop.get("sessions_per_second"), write_count, "sessions placed per second by one loop"),
        (memory.get("bytes_per_session"), write_bytes, "of memory per pending session"),
        (
            stall.get("usual_longest_block_ms"),
            write_milliseconds,
            "is the longest block of the event loop by a read",
        ),
    )
    return tuple(Headline(write(figure), says) for figure, write, says in wanted if figure is not None)


def choose_chapters(suites: Sequence[SavedSuite]) -> tuple[Chapter, ...]:
    """Choose the plots that these results give; a chapter without any is left out."""
    growth = [draw_series(series) for suite in suites for series in suite.series()]
    compared = [draw_cases(suite) for suite in suites if _has_single_cases(suite)]
    phases = [plot for suite in suites if (plot := _draw_phases(suite)) is not None]
    chapters = (
        Chapter(
            "growth",
            "How the time grows",
            "With what waits, has finished, runs and changes. Both axes are logarithmic; a level line does not "
            "grow.",
            tuple(growth),
        ),
        Chapter(
            "compared",
            "Against the floor, the limit and the plain way",
            "Each row is one case, on a logarithmic axis: the further left, the faster. The thin line through "
            "a mark is from the fastest to the slowest turn. At the right: the engine's time, how many times "
            "the floor's that is, and how much faster than the plain way.",
            tuple(compared),
        ),
        Chapter(
            "phases",
            "Where a tick's time goes",
            "Medians of each phase; each bar is one kind of tick, with its time at the right.",
            tuple(phases),
        ),
        Chapter(
            "measures",
            "Beside the time",
            "What else a scheduler's process pays: memory, and turns of its event loop; and how far it gets.",
            (*_draw_quantiles(suites), *_draw_measures(suites)),
        ),
    )
    return tuple(chapter for chapter in chapters if chapter.plots)


def judge(thresholds: Sequence[Threshold], suites: Iterable[SavedSuite]) -> tuple[Verdict, ...]:
    """Judge the thresholds that hold at the sizes that were measured, the missed ones first."""
    verdicts = []
    for suite in suites:
        for threshold in thresholds:
            case = suite.case(threshold.case) if threshold.suite == suite.suite else None
            if case is None or suite.size not in threshold.sizes or threshold.figure not in case.figures:
                continue
            found = case.figures[threshold.figure]
            verdicts.append(
                Verdict(
                    suite.suite,
                    case.name,
                    threshold.figure,
                    format_figure(found),
                    threshold.bound,
                    threshold.is_kept_by(found),
                    threshold.reason,
                )
            )
    return tuple(sorted(verdicts, key=lambda verdict: verdict.is_kept))


def _has_single_cases(suite: SavedSuite) -> bool:
    in_series = {case.name for series in suite.series() for _, case in series.points}
    return len(in_series) < len(suite.cases)


def _draw_phases(suite: SavedSuite) -> Optional[Plot]:
    names = TickTimes.__struct_fields__
    cases = [
        (case.name, {name: case.figures[f"{name}_ms"] for name in names})
        for case in suite.cases
        if all(f"{name}_ms" in case.figures for name in names)
    ]
    if not cases:
        return None
    most = [max(parts, key=parts.__getitem__) for _, parts in cases]
    says = "; ".join(
        f"{name}, {phase} {_share(parts, phase):.0%}" for (name, parts), phase in zip(cases, most, strict=True)
    )
    return draw_shares(f"Suite {suite.suite}, by phase", f"The longest phase: {says}.", cases)


def _share(parts: Mapping[str, float], phase: str) -> float:
    total = sum(parts.values())
    return parts[phase] / total if total else 0.0


def _draw_quantiles(suites: Iterable[SavedSuite]) -> list[Plot]:
    plots = []
    for suite in suites:
        cases = [
            (case.name, {name: case.figures[figure] for name, figure in _QUANTILES.items()})
            for case in suite.cases
            if all(figure in case.figures for figure in _QUANTILES.values())
        ]
        if cases:
            says = (
                "How long the engine keeps the event loop at a time, of what is 0.1 ms or more. The longest of "
                "all may be the machine's doing; usual is the median of the turns' longest."
            )
            plots.append(draw_quantiles(f"Suite {suite.suite}: blocks of the event loop", says, cases))
    return plots


def _draw_measures(suites: Iterable[SavedSuite]) -> list[Plot]:
    plots = []
    for suite in suites:
        for measure in _MEASURES:
            cases = [(case.name, found) for case in suite.cases if (found := _sides_of(case, measure.figure))]
            if cases:
                title = f"Suite {suite.suite}: {measure.title}"
                plots.append(draw_bars(title, measure.says, cases, measure.write))
    return plots


def _sides_of(case: SavedCase, figure: str) -> dict[str, float]:
    if figure not in case.figures:
        return {}
    names = {side: figure if side == ENGINE else f"{side}_{figure}" for side in SIDES}
    return {side: case.figures[name] for side, name in names.items() if name in case.figures}
