"""The page itself: one HTML file that needs no other, nor a script, nor the network."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Optional

import jinja2
import markupsafe

from bench.cli.tables import format_figure
from bench.report.chapters import choose_chapters, choose_headlines, judge
from bench.report.drawing import draw_key
from bench.report.saved import SIDES, SavedSuite
from bench.suites.runner import TRACE
from bench.thresholds import load_thresholds

# How a page begins that may be written over.
MARK: Final = "<!-- written by: python -m bench report -->"
_FOLDER: Final = Path(__file__).parent
# What differs from suite to suite on one machine.
_PASSING: Final = frozenset({"load_average", "measured_at", "commit"})
# Load averages by processor above which others were at work: before the first suite, and before later ones,
# in whose load those before them have had a part.
_MUCH_BEFORE: Final = 0.5
_MUCH_MEANWHILE: Final = 1.5


def render_page(suites: Sequence[SavedSuite]) -> str:
    """Write the page of the results of one suite or more."""
    loader = jinja2.FileSystemLoader(_FOLDER)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    verdicts = judge(load_thresholds(), suites)
    return environment.get_template("page.html").render(
        mark=markupsafe.Markup(MARK),  # noqa: S704 - a constant
        style=markupsafe.Markup((_FOLDER / "page.css").read_text("utf-8")),  # noqa: S704 - our own file
        title=", ".join(_sizes(suites)),
        subtitle=_introduce(suites),
        load_of_others=_load_of_others(suites),
        headlines=choose_headlines(suites),
        keys={side: markupsafe.Markup(draw_key(side)) for side in SIDES},  # noqa: S704 - drawn here
        chapters=choose_chapters(suites),
        verdicts=verdicts,
        kept=sum(verdict.is_kept for verdict in verdicts),
        suites=suites,
        machines=_machines(suites),
        write=format_figure,
        passing=_passing,
        how=_how,
    )


def _introduce(suites: Sequence[SavedSuite]) -> str:
    days = sorted(
        {str(suite.machine["measured_at"])[:10] for suite in suites if "measured_at" in suite.machine}
    )
    names = sorted({str(suite.machine.get("processor", "a machine of no name")) for suite in suites})
    when = f", {' to '.join(dict.fromkeys((days[0], days[-1])))}" if days else ""
    count = f"{len(suites)} suites" if len(suites) > 1 else f"Suite {suites[0].suite}"
    return f"{count} at size {' and '.join(_sizes(suites))}, on {' and '.join(names)}{when}."


def _sizes(suites: Sequence[SavedSuite]) -> list[str]:
    return list(dict.fromkeys(suite.size for suite in suites))


def _load_of_others(suites: Sequence[SavedSuite]) -> Optional[tuple[float, int]]:
    """Return a load average that shows others at work, and the processors; None if they hardly were."""
    first = min(suites, key=lambda suite: str(suite.machine.get("measured_at", "")))
    found = []
    for suite in suites:
        loads, processors = suite.machine.get("load_average"), suite.machine.get("processors")
        if (
            isinstance(loads, list)
            and loads
            and isinstance(loads[0], (int, float))
            and isinstance(processors, int)
        ):
            bound = _MUCH_BEFORE if suite is first else _MUCH_MEANWHILE
            if loads[0] > bound * processors:
                found.append((float(loads[0]), processors))
    return max(found, default=None)


def _machines(suites: Sequence[SavedSuite]) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """Return the facts of each machine, with the suites that were measured on it."""
    found: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for suite in suites:
        lasting = {name: fact for name, fact in suite.machine.items() if name not in _PASSING}
        found.setdefault(tuple(_facts(lasting)), []).append(suite.suite)
    return [(", ".join(names), facts) for facts, names in found.items()]


def _how(suite: SavedSuite) -> str:
    """Return the options with which a suite measures the same again."""
    return "--trace-nodes FILE --trace-pods FILE" if suite.size == TRACE else f"--size {suite.size}"


def _passing(suite: SavedSuite) -> tuple[tuple[str, str], ...]:
    return tuple(_facts({name: fact for name, fact in suite.machine.items() if name in _PASSING}))


def _facts(machine: Mapping[str, object], above: Optional[str] = None) -> Iterator[tuple[str, str]]:
    for name, fact in machine.items():
        shown = str(name).replace("_", " ") if above is None else f"{above}: {name}"
        if fact is None:
            continue
        if isinstance(fact, Mapping):
            yield from _facts(fact, shown)
        else:
            yield shown, f"{fact:,}" if isinstance(fact, int) and not isinstance(fact, bool) else str(fact)
