"""The figures in READMEs that were measured: each has its source beside it, and is written from there.

In a text, ``87<!-- figure: read; full read; median_ms -->`` is a figure of a case in the results of suite read.
One may be divided by another, ``plain_ms / floor_ms``; of the machine it is ``read; machine; processors``.
Above a table stands a comment with a line for each row, whose cells it fills but for the first::

    <!-- table: read
    full read: median_ms, ratio_to_floor
    -->
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bench.cli.tables import format_figure
from bench.report.saved import SavedSuite, read_folder
from scheduler_repo.errors import InvalidInput

MACHINE: Final = "machine"
FIGURE: Final = re.compile(
    r"(?P<shown>[^\s|<>()]+)(?P<source><!-- figure: (?P<suite>[^;>]+); (?P<case>[^;>]+); (?P<field>[^;>]+) -->)"
)
TABLE: Final = re.compile(
    r"(?P<comment><!-- table: (?P<suite>\S+)\n(?P<lines>(?:[^\n>]+\n)+)-->\n)"
    r"(?P<header>\|[^\n]+\n\|[-:| ]+\n)(?P<rows>(?:\|[^\n]+\n)+)"
)


def find_readmes(root: Path) -> list[Path]:
    """Find the READMEs of a checkout."""
    return [
        root / "README.md",
        root / "bench" / "README.md",
        *sorted((root / "scheduler_repo").rglob("README.md")),
    ]


def read_results(folder: Path) -> dict[str, SavedSuite]:
    """Read the results of a checkout by the names that READMEs give them: ``read``, and ``L/read`` at size L.

    Raises InvalidInput for one that cannot be read.
    """
    found = {suite.suite: suite for suite in read_folder(folder)}
    for size in sorted(path for path in folder.iterdir() if path.is_dir()):
        found |= {f"{size.name}/{suite.suite}": suite for suite in read_folder(size)}
    return found


def write_figures(text: str, suites: Mapping[str, SavedSuite], path: Path) -> str:
    """Return a README with the figures of these results; raises InvalidInput where a source is not there."""

    def find(suite: str, case: str, field: str) -> str:
        try:
            return _find(suites[suite], case, field)
        except LookupError as error:
            raise InvalidInput(
                f"{path}: {suite}; {case}; {field} is not among the results ({error}); correct the comment, or "
                f"measure it: python -m bench report --refresh --suite {suite.rpartition('/')[2]}"
            ) from error

    def write_table(match: re.Match[str]) -> str:
        sources = [line.partition(": ") for line in match["lines"].splitlines()]
        rows = match["rows"].splitlines()
        if len(sources) != len(rows):
            raise InvalidInput(
                f"{path}: the comment above a table of {match['suite']} names {len(sources)} rows, "
                f"the table has {len(rows)}; name each"
            )
        written = []
        for row, (case, _, fields) in zip(rows, sources, strict=True):
            label = row.split("|")[1].strip()
            cells = [find(match["suite"], case, field.strip()) for field in fields.split(",")]
            written.append(f"| {' | '.join([label, *cells])} |\n")
        return f"{match['comment']}{match['header']}{''.join(written)}"

    def write_figure(match: re.Match[str]) -> str:
        return f"{find(match['suite'], match['case'], match['field'])}{match['source']}"

    return FIGURE.sub(write_figure, TABLE.sub(write_table, text))


def _find(suite: SavedSuite, case_name: str, field: str) -> str:
    """Return what a README shows; raises LookupError."""
    if case_name == MACHINE:
        fact: object = suite.machine
        for name in field.split("."):
            if isinstance(fact, list) and name.isdecimal():
                fact = fact[int(name)]
            elif isinstance(fact, Mapping):
                fact = fact[name]
            else:
                raise LookupError(f"the machine has no {field!r}")
        # The first word, as a figure in a text is one: a version may be followed by who built it.
        return f"{fact:,}" if isinstance(fact, int) else str(fact).split()[0]
    case = suite.case(case_name)
    if case is None:
        raise LookupError(f"there is no case {case_name!r}")
    dividend, _, divisor = field.partition(" / ")
    found = case.figures[dividend]
    return format_figure(found / case.figures[divisor] if divisor else found)
