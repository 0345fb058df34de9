"""The page of a suite's results: a table of times and ratios, and the figures of each case."""

from collections.abc import Iterator
from typing import Final

from rich.table import Table

from bench.measure.results import ENGINE, FLOOR, LIMIT, PLAIN, CaseResult, SuiteResult
from scheduler_repo.cli.output.console import plain_table

_HEADER: Final = ("case", "ms", "range", "floor", "ratio", "plain", "faster", "sent")
LEGEND: Final = (
    "ms: median of the turns; range: least and most; floor: the driver alone;",
    "ratio: ms to the floor; plain: the plain way; faster: than the plain way;",
    "sent: statements and round trips, counted on the wire.",
)


def lay_out_cases(result: SuiteResult) -> Table:
    """Lay out the times of all cases, one in a row."""
    return plain_table(map(_row, result.cases), _HEADER, range(1, len(_HEADER)))


def lay_out_figures(result: SuiteResult) -> Table:
    """Lay out the figures that are a case's own, for each case that has any."""
    return plain_table(_figures(result))


def _figures(result: SuiteResult) -> Iterator[tuple[str, str]]:
    for case in result.cases:
        figures = [f"{name.replace('_', ' ')} {format_figure(figure)}" for name, figure in case.figures.items()]
        limit, ratio = case.times.get(LIMIT), case.ratio_to(LIMIT)
        if limit is not None and ratio is not None:
            figures.append(
                f"limit {format_ms(limit.median_ms)} ms, of which it takes {ratio:.2f} times as long"
            )
        if figures:
            yield case.name, ", ".join(figures)


def format_ms(milliseconds: float) -> str:
    """Write a time to three digits, none after the point from 100 on."""
    for least, digits in ((100, 0), (10, 1), (0.1, 2)):
        if milliseconds >= least:
            return f"{milliseconds:,.{digits}f}"
    return f"{milliseconds:.4f}"


def format_figure(figure: float) -> str:
    """Write a count as it is, and anything else to three digits."""
    if figure == int(figure):
        return f"{int(figure):,}"
    return format_ms(figure) if figure >= 0 else f"-{format_ms(-figure)}"


def _row(case: CaseResult) -> tuple[str, ...]:
    engine, counts = case.engine, case.counts.get(ENGINE)
    floor, plain = case.times.get(FLOOR), case.times.get(PLAIN)
    ratio, share = case.ratio_to(FLOOR), case.ratio_to(PLAIN)
    return (
        case.name,
        format_ms(engine.median_ms),
        f"{format_ms(engine.min_ms)}-{format_ms(engine.max_ms)}",
        "" if floor is None else format_ms(floor.median_ms),
        "" if ratio is None else f"{ratio:.2f}",
        "" if plain is None else format_ms(plain.median_ms),
        "" if share is None else f"{1 / share:.1f}x",
        "" if counts is None else f"{counts.statements}/{counts.round_trips}",
    )
