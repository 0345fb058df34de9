"""The results of a suite, and the one JSON object that they are printed as."""

from collections.abc import Mapping
from typing import Final, Optional

import msgspec

from bench.measure.turns import Times
from bench.measure.wire import WireCounts

ENGINE: Final = "engine"
FLOOR: Final = "floor"
LIMIT: Final = "limit"
PLAIN: Final = "plain"


class CaseResult(msgspec.Struct, frozen=True):
    """One case: the times of its sides, what each sent, and the figures that are the case's own."""

    name: str
    times: Mapping[str, Times]
    counts: Mapping[str, WireCounts]
    figures: Mapping[str, float]

    @property
    def engine(self) -> Times:
        """The times of the side that all others are compared with."""
        return self.times[ENGINE]

    def ratio_to(self, side: str) -> Optional[float]:
        """Return how many times as long as a side the engine takes; None if that side was not measured."""
        other = self.times.get(side)
        return None if other is None or other.median_ms == 0 else self.engine.median_ms / other.median_ms

    def to_dict(self) -> dict[str, object]:
        """Return the case as JSON shows it; a figure that was not measured is left out."""
        found: dict[str, object] = {"name": self.name, **_rounded(msgspec.structs.asdict(self.engine))}
        for side in (FLOOR, LIMIT, PLAIN):
            times, ratio = self.times.get(side), self.ratio_to(side)
            if times is None or ratio is None:
                continue
            found[f"{side}_ms"] = round(times.median_ms, 4)
            found[f"{side}_min_ms"] = round(times.min_ms, 4)
            found[f"{side}_max_ms"] = round(times.max_ms, 4)
            if side == PLAIN:
                found["speedup_over_plain"] = round(1 / ratio, 3)
            else:
                found[f"ratio_to_{side}"] = round(ratio, 4)
        for side, counts in self.counts.items():
            prefix = "" if side == ENGINE else f"{side}_"
            found[f"{prefix}statements"] = counts.statements
            found[f"{prefix}round_trips"] = counts.round_trips
        return {**found, **_rounded(self.figures)}


class SuiteResult(msgspec.Struct, frozen=True):
    """All cases of one suite, and where they were measured."""

    suite: str
    size: str
    machine: Mapping[str, object]
    cases: tuple[CaseResult, ...]

    def to_dict(self) -> dict[str, object]:
        """Return the suite as JSON shows it."""
        return {
            "suite": self.suite,
            "size": self.size,
            "machine": dict(self.machine),
            "cases": [case.to_dict() for case in self.cases],
        }

    def to_json(self) -> bytes:
        """Encode the suite as one JSON object in one line."""
        return msgspec.json.encode(self.to_dict())


def _rounded(figures: Mapping[str, float]) -> dict[str, object]:
    return {name: round(figure, 4) for name, figure in figures.items()}
