"""The results of suites, read back from the JSON objects that they were written as."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Optional

import msgspec

from bench.measure.results import ENGINE, FLOOR, LIMIT, PLAIN, SuiteResult
from bench.measure.turns import Times
from bench.suites.registry import SUITES
from scheduler_repo.errors import InvalidInput

# In the order in which they are drawn: what is compared, and then with what.
SIDES: Final = (ENGINE, FLOOR, LIMIT, PLAIN)
_NUMBER: Final = re.compile(r"(?<![\w.,])(?:\d{1,3}(?:,\d{3})+|\d{1,12})(?![\w.])")

_Text = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class SavedCase(msgspec.Struct, frozen=True):
    """One case with all of its numbers, by the names that they have in the JSON object."""

    name: str
    figures: Mapping[str, float]

    def times_of(self, side: str) -> Optional[Times]:
        """Return the times of a side; None if it was not measured. Only the engine's turns are known."""
        names = ("median_ms", "min_ms", "max_ms") if side == ENGINE else _names_of(side)
        found = [self.figures.get(name) for name in names]
        median, least, most = found
        if median is None or least is None or most is None:
            return None
        return Times(median, least, most, int(self.figures["n"]) if side == ENGINE else 0)

    @property
    def engine(self) -> Times:
        """The times of the side that all others are compared with; every case has it."""
        times = self.times_of(ENGINE)
        assert times is not None
        return times


class Series(msgspec.Struct, frozen=True):
    """Cases whose names differ by one number, in its rising order; ``before`` and ``after`` stand around it."""

    suite: str
    before: str
    after: str
    points: tuple[tuple[int, SavedCase], ...]

    @property
    def title(self) -> str:
        """Name all of them."""
        return f"{self.before or f'{self.suite}, '}{self.points[0][0]:,} to {self.points[-1][0]:,}{self.after}"

    @property
    def unit(self) -> str:
        """What there is more and more of."""
        return self.after.strip(" ,")


class SavedSuite(msgspec.Struct, frozen=True):
    """All cases of one suite, and where they were measured."""

    suite: str
    size: str
    machine: Mapping[str, object]
    cases: tuple[SavedCase, ...]

    @property
    def about(self) -> str:
        """What the suite measures; nothing for one that this version does not have."""
        known = SUITES.get(self.suite)
        return "" if known is None else known.about

    def case(self, name: str) -> Optional[SavedCase]:
        """Find a case."""
        return next((case for case in self.cases if case.name == name), None)

    def series(self) -> tuple[Series, ...]:
        """Find the cases that differ by an amount, such as ``read, 1,000 pending``: two at least of a kind."""
        points: dict[tuple[str, str], list[tuple[int, SavedCase]]] = {}
        for case in self.cases:
            for match in _NUMBER.finditer(case.name):
                around = case.name[: match.start()], case.name[match.end() :]
                points.setdefault(around, []).append((int(match[0].replace(",", "")), case))
        return tuple(
            Series(self.suite, before, after, tuple(sorted(found, key=lambda point: point[0])))
            for (before, after), found in points.items()
            if len(found) > 1
        )


class _SuiteObject(msgspec.Struct, frozen=True):
    """A suite as its JSON object has it."""

    suite: _Text
    size: _Text
    machine: dict[str, object]
    cases: Annotated[tuple[dict[_Text, object], ...], msgspec.Meta(min_length=1)]


def read_back(result: SuiteResult) -> SavedSuite:
    """Return what was measured just now as it will be read later."""
    return _decode(result.to_json())


def read_folder(folder: Path) -> tuple[SavedSuite, ...]:
    """Read every ``SUITE.json`` of a folder, in the order of the suites.

    Raises InvalidInput, which names the file and what to do, for one that is damaged, that is of something
    else, or that lacks what this version needs; and for a folder with none.
    """
    paths = sorted(path for path in folder.glob("*.json") if path.is_file())
    if not paths:
        raise InvalidInput(
            f"{folder} has no results of a suite; write some with: python -m bench all --output {folder}"
        )
    suites = [_read_file(path) for path in paths]
    order = [*SUITES, *(suite.suite for suite in suites)]
    return tuple(sorted(suites, key=lambda suite: order.index(suite.suite)))


def _read_file(path: Path) -> SavedSuite:
    name = path.stem
    again = f"measure it again: python -m bench {name if name in SUITES else 'SUITE'} --output {path.parent}"
    try:
        suite = _decode(path.read_bytes())
    except msgspec.ValidationError as error:
        raise InvalidInput(
            f"{path} holds no results that this version reads ({error}); leave it out, or {again}"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is damaged ({error}); {again}") from error
    if suite.suite != name:
        raise InvalidInput(f"{path} has the results of suite {suite.suite}; name it {suite.suite}.json")
    return suite


def _decode(content: bytes) -> SavedSuite:
    """Read one JSON object; raises msgspec.ValidationError and msgspec.DecodeError."""
    found = msgspec.json.decode(content, type=_SuiteObject)
    cases = tuple(map(_read_case, found.cases))
    if len({case.name for case in cases}) < len(cases):
        raise msgspec.ValidationError("two cases have the same name")
    return SavedSuite(found.suite, found.size, found.machine, cases)


def _read_case(found: Mapping[str, object]) -> SavedCase:
    """Keep the numbers of a case; a later version may write more than these."""
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise msgspec.ValidationError("a case has no name")
    figures = {
        key: float(value)
        for key, value in found.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    for key in ("median_ms", "min_ms", "max_ms", "n"):
        if figures.get(key, -1.0) < 0:
            raise msgspec.ValidationError(f"case {name!r} has no {key}")
    return SavedCase(name, figures)


def _names_of(side: str) -> tuple[str, str, str]:
    return f"{side}_ms", f"{side}_min_ms", f"{side}_max_ms"
