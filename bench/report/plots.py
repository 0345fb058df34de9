"""The plots of a report: each a drawing, what it says in words, and its figures as a table."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Optional

import msgspec

from bench.cli.tables import format_figure
from bench.measure.results import ENGINE, FLOOR, LIMIT, PLAIN
from bench.measure.turns import Times
from bench.report.drawing import Drawing, spread
from bench.report.saved import SIDES, SavedCase, SavedSuite, Series
from bench.report.scales import LogScale, write_count, write_milliseconds, write_times

SIDE_NAMES: Final = {ENGINE: "engine", FLOOR: "floor", LIMIT: "limit", PLAIN: "plain way"}
_WIDTH: Final = 410.0
_LEFT, _RIGHT, _TOP = 58.0, 74.0, 12.0
_ROW: Final = 44.0
_LABEL_HEIGHT: Final = 14.0
# A label on the x axis may begin this far from the one before.
_LABEL_WIDTH: Final = 40.0
_BAR: Final = 13.0
# As wide as most characters of a note are; those of a name are wider.
_CHARACTER: Final = 6.4


class Plot(msgspec.Struct, frozen=True):
    """A drawing, with a title, what it says in a sentence or two, and every figure that is in it."""

    title: str
    says: str
    drawing: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def draw_series(series: Series) -> Plot:
    """Draw how the time of every side grows with an amount, both on logarithmic axes."""
    amounts = [amount for amount, _ in series.points]
    title = _capital(series.title)
    says = _say_growth(series)
    height, bottom = 270.0, 230.0
    drawing = Drawing(_WIDTH, height, title, says)
    times = {side: _times_along(series, side) for side in SIDES}
    all_times = [
        number for found in times.values() for _, each in found for number in (each.min_ms, each.max_ms)
    ]
    x = LogScale.between(amounts, _LEFT, _WIDTH - _RIGHT)
    y = LogScale.around(all_times, bottom, _TOP)
    for mark in y.marks():
        drawing.line("grid", (_LEFT - 6, y.at(mark)), (_WIDTH - _RIGHT + 6, y.at(mark)))
        drawing.text("tick", _LEFT - 10, y.at(mark) + 4, write_milliseconds(mark), anchor="end")
    last = -_LABEL_WIDTH
    for amount in amounts:
        drawing.line("grid", (x.at(amount), _TOP), (x.at(amount), bottom))
        if x.at(amount) - last >= _LABEL_WIDTH:
            last = x.at(amount)
            drawing.text("tick", last, bottom + 18, write_count(amount), anchor="middle")
    drawing.text("axis", (_LEFT + _WIDTH - _RIGHT) / 2, height - 4, series.unit, anchor="middle")
    measured = [side for side in reversed(SIDES) if times[side]]
    for side in measured:
        for amount, each in times[side]:
            drawing.line(f"range {side}", (x.at(amount), y.at(each.min_ms)), (x.at(amount), y.at(each.max_ms)))
        points = [(x.at(amount), y.at(each.median_ms)) for amount, each in times[side]]
        drawing.line(f"curve {side}", *points)
        for (amount, each), place in zip(times[side], points, strict=True):
            drawing.mark(side, *place, f"{amount:,} {series.unit}, {_describe(side, each)}")
    ends = spread([y.at(times[side][-1][1].median_ms) for side in measured], _LABEL_HEIGHT)
    for side, end in zip(measured, ends, strict=True):
        drawing.text(f"label {side}", _WIDTH - _RIGHT + 10, end + 4, SIDE_NAMES[side])
    rows = [(f"{amount:,}", *_cells(case)) for amount, case in series.points]
    return Plot(title, says, drawing.markup(), (series.unit, *_HEADER), tuple(rows))


def draw_cases(suite: SavedSuite) -> Plot:
    """Draw the times of every side of every case beside each other, on one logarithmic axis."""
    title = f"Suite {suite.suite}"
    says = _say_cases(suite)
    found = [(case, {side: case.times_of(side) for side in SIDES}) for case in suite.cases]
    numbers = [number for _, sides in found for each in sides.values() if each for number in _ends(each)]
    height = _TOP + _ROW * len(found) + 26
    drawing = Drawing(_WIDTH, height, title, says)
    x = LogScale.around(numbers, 8, _WIDTH - 24)
    _draw_axis(drawing, x, height, write_milliseconds)
    for row, (case, sides) in enumerate(found):
        top = _TOP + _ROW * row
        middle = top + 26
        _draw_heading(drawing, top, case.name, _note(case))
        drawing.line("track", (x.start, middle), (x.end, middle))
        for side in reversed(SIDES):
            each = sides[side]
            if each is not None:
                drawing.line(f"range {side}", (x.at(each.min_ms), middle), (x.at(each.max_ms), middle))
                drawing.mark(side, x.at(each.median_ms), middle, f"{case.name}, {_describe(side, each)}")
    rows = [(case.name, *_cells(case)) for case in suite.cases]
    return Plot(title, says, drawing.markup(), ("case", *_HEADER), tuple(rows))


def draw_shares(title: str, says: str, cases: Sequence[tuple[str, Mapping[str, float]]]) -> Plot:
    """Draw into which parts the milliseconds of each case fall, each case as wide as the others."""
    drawing = Drawing(_WIDTH, _TOP + 20 + _ROW * len(cases), title, says)
    place = 0.0
    for number, part in enumerate(cases[0][1]):
        drawing.box(f"part part-{number}", place, 0, 10, 10)
        drawing.text("tick", place + 15, 9, part)
        place += 80
    rows = []
    for row, (name, parts) in enumerate(cases):
        top, total = _TOP + 20 + _ROW * row, sum(parts.values())
        _draw_heading(drawing, top, name, write_milliseconds(total))
        left = 0.0
        for number, (part, milliseconds) in enumerate(parts.items()):
            width = _WIDTH * milliseconds / total if total else 0.0
            says_part = f"{name}, {part}: {write_milliseconds(milliseconds)}"
            drawing.box(f"part part-{number}", left, top + 16, width, 18, says_part)
            if width > 7 * len(part) + 10:
                drawing.text("inside", left + width / 2, top + 29, part, anchor="middle")
            left += width
        rows.append((name, *map(format_figure, parts.values())))
    header = ("case", *(f"{part}, ms" for part in cases[0][1]))
    return Plot(title, says, drawing.markup(), header, tuple(rows))


def draw_bars(
    title: str,
    says: str,
    cases: Sequence[tuple[str, Mapping[str, float]]],
    write: Callable[[float], str],
) -> Plot:
    """Draw one figure of every side of every case as a bar, from 0 on."""
    most = max(max(sides.values()) for _, sides in cases) or 1.0
    heights = [24 + (_BAR + 5) * len(sides) for _, sides in cases]
    drawing = Drawing(_WIDTH, _TOP + sum(heights), title, says)
    top, rows = _TOP, []
    for (name, sides), height in zip(cases, heights, strict=True):
        _draw_heading(drawing, top, name)
        for number, (side, value) in enumerate(sides.items()):
            y = top + 18 + (_BAR + 5) * number
            width = max(0.0, value) / most * (_WIDTH - 150)
            drawing.box(
                f"bar {side}", 0, y, max(width, 1.0), _BAR, f"{name}, {SIDE_NAMES[side]}: {write(value)}"
            )
            says_side = write(value) if len(sides) == 1 else f"{write(value)}, {SIDE_NAMES[side]}"
            drawing.text("note", max(width, 1.0) + 6, y + 11, says_side)
        top += height
        rows.append((name, *(write(sides[side]) if side in sides else "" for side in SIDES)))
    used = [side for side in SIDES if any(side in sides for _, sides in cases)]
    kept = [(row[0], *(row[1 + SIDES.index(side)] for side in used)) for row in rows]
    return Plot(title, says, drawing.markup(), ("case", *(SIDE_NAMES[side] for side in used)), tuple(kept))


def draw_quantiles(title: str, says: str, cases: Sequence[tuple[str, Mapping[str, float]]]) -> Plot:
    """Draw where the quantiles of a time lie, by their names, on one logarithmic axis."""
    height = _TOP + (_ROW + 10) * len(cases) + 26
    drawing = Drawing(_WIDTH, height, title, says)
    numbers = [number for _, found in cases for number in found.values()]
    x = LogScale.around(numbers, 14, _WIDTH - 40)
    _draw_axis(drawing, x, height, write_milliseconds)
    for row, (name, found) in enumerate(cases):
        top = _TOP + (_ROW + 10) * row
        _draw_heading(drawing, top, name)
        places = [x.at(number) for number in found.values()]
        drawing.line(f"curve {ENGINE}", (places[0], top + 24), (places[-1], top + 24))
        for label, (quantile, number) in zip(spread(places, 46), found.items(), strict=True):
            says_one = f"{name}, {quantile}: {write_milliseconds(number)}"
            drawing.mark(ENGINE, x.at(number), top + 24, says_one)
            drawing.text("tick", label, top + 42, quantile, anchor="middle")
    rows = [(name, *map(format_figure, found.values())) for name, found in cases]
    header = ("case", *(f"{quantile}, ms" for quantile in cases[0][1]))
    return Plot(title, says, drawing.markup(), header, tuple(rows))


_HEADER: Final = (
    "engine, ms",
    "least",
    "most",
    "floor, ms",
    "limit, ms",
    "plain way, ms",
    "to floor",
    "over plain",
)


def _cells(case: SavedCase) -> tuple[str, ...]:
    """Return what a case has of what ``_HEADER`` names."""
    engine = case.engine
    others = [case.times_of(side) for side in (FLOOR, LIMIT, PLAIN)]
    shown = ["" if each is None else format_figure(each.median_ms) for each in others]
    ratio, share = ratio_to(case, FLOOR), ratio_to(case, PLAIN)
    return (
        *map(format_figure, (engine.median_ms, engine.min_ms, engine.max_ms)),
        *shown,
        "" if ratio is None else write_times(ratio),
        "" if share is None else write_times(1 / share),
    )


def ratio_to(case: SavedCase, side: str) -> Optional[float]:
    """Return how many times as long as a side the engine takes; None if either took no measurable time."""
    other = case.times_of(side)
    if other is None or other.median_ms == 0 or case.engine.median_ms == 0:
        return None
    return case.engine.median_ms / other.median_ms


def _times_along(series: Series, side: str) -> list[tuple[int, Times]]:
    found = [(amount, case.times_of(side)) for amount, case in series.points]
    return [(amount, times) for amount, times in found if times is not None and times.median_ms > 0]


def _draw_heading(drawing: Drawing, top: float, name: str, note: str = "") -> None:
    """Write the name of a case, as far as there is room, and a note at the right; the table has all of it."""
    room = int((_WIDTH - _CHARACTER * len(note)) / (_CHARACTER * 1.25)) - 1
    shown = name if len(name) <= room else f"{name[: room - 1]}\N{HORIZONTAL ELLIPSIS}"
    drawing.text("name", 0, top + 10, shown)
    drawing.text("note", _WIDTH, top + 10, note, anchor="end")


def _draw_axis(drawing: Drawing, x: LogScale, height: float, write: Callable[[float], str]) -> None:
    last = -_LABEL_WIDTH
    for mark in x.marks():
        drawing.line("grid", (x.at(mark), _TOP + 14), (x.at(mark), height - 20))
        if x.at(mark) - last >= _LABEL_WIDTH:
            last = x.at(mark)
            drawing.text("tick", last, height - 6, write(mark), anchor="middle")


def _ends(times: Times) -> tuple[float, float]:
    return times.min_ms, times.max_ms


def _describe(side: str, times: Times) -> str:
    least, most = write_milliseconds(times.min_ms), write_milliseconds(times.max_ms)
    return f"{SIDE_NAMES[side]}: {write_milliseconds(times.median_ms)} ({least} to {most})"


def _note(case: SavedCase) -> str:
    ratio, share = ratio_to(case, FLOOR), ratio_to(case, PLAIN)
    said = [write_milliseconds(case.engine.median_ms)]
    if ratio is not None:
        said.append(f"{write_times(ratio)} floor")
    if share is not None:
        said.append(_say_speed(share))
    return " · ".join(said)


def _say_speed(share: float) -> str:
    return f"{write_times(1 / share)} faster" if share < 1 else f"{write_times(share)} slower"


def _say_growth(series: Series) -> str:
    (first, early), (last, late) = series.points[0], series.points[-1]
    said = []
    if early.engine.median_ms > 0:
        growth = late.engine.median_ms / early.engine.median_ms
        more = f" for {format_figure(last / first)} times as many" if first > 0 else ""
        said.append(f"From {first:,} to {last:,} the engine takes {format_figure(growth)} times as long{more}.")
    ratio, share = ratio_to(late, FLOOR), ratio_to(late, PLAIN)
    ends = [write_milliseconds(late.engine.median_ms)]
    if ratio is not None:
        ends.append(f"{format_figure(ratio)} times the floor")
    if share is not None:
        ends.append(f"{_say_speed(share)} than the plain way")
    said.append(f"At {last:,}: {', '.join(ends)}.")
    for name, value in late.figures.items():
        kind, _, other = name.partition("_to_") if "_to_" in name else name.partition("_over_")
        if kind in ("ratio", "speedup") and other not in SIDES:
            said.append(f"{_capital(name.replace('_', ' '))}: {format_figure(value)}.")
    return " ".join(said)


def _say_cases(suite: SavedSuite) -> str:
    said = [f"{_capital(suite.about or 'the times of its cases')}."]
    ratios = sorted(ratio for case in suite.cases if (ratio := ratio_to(case, FLOOR)) is not None)
    if ratios:
        found = " to ".join(dict.fromkeys(map(write_times, (ratios[0], ratios[-1]))))
        said.append(f"The engine takes {found} as long as the floor.")
    shares = sorted(share for case in suite.cases if (share := ratio_to(case, PLAIN)) is not None)
    if shares:
        found = " to ".join(dict.fromkeys(map(_say_speed, (shares[-1], shares[0]))))
        said.append(f"It is {found} than the plain way.")
    return " ".join(said)


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"
