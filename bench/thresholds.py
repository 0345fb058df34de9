"""The thresholds of thresholds.toml: bounds on ratios within one run, each with its reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Optional

import msgspec

from bench.data.sizes import SizeName
from bench.measure.results import CaseResult, SuiteResult

_FILE: Final = Path(__file__).with_name("thresholds.toml")


class Threshold(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bound on one figure of one case, at some sizes; ``figure`` is its name in the JSON object."""

    suite: str
    case: str
    figure: str
    sizes: tuple[SizeName, ...]
    reason: str
    at_most: Optional[float] = None
    at_least: Optional[float] = None

    @property
    def bound(self) -> str:
        """Say what it bounds the figure to."""
        if self.at_most is not None:
            return f"at most {self.at_most:g}"
        return f"at least {self.at_least:g}"

    def is_kept_by(self, found: float) -> bool:
        """Whether a figure is within the bound."""
        is_low_enough = self.at_most is None or found <= self.at_most
        return is_low_enough and (self.at_least is None or found >= self.at_least)

    def missed_by(self, case: CaseResult) -> Optional[str]:
        """Say how a case misses this; None if it keeps it, or has no such figure without an earlier case."""
        found = case.to_dict().get(self.figure)
        if not isinstance(found, (int, float)) or self.is_kept_by(found):
            return None
        return f"{self.suite}, {case.name}: {self.figure} is {found:g}, to be {self.bound}: {self.reason}"


class _Thresholds(msgspec.Struct, forbid_unknown_fields=True):
    threshold: tuple[Threshold, ...]


def load_thresholds() -> tuple[Threshold, ...]:
    """Read the file; raises msgspec.ValidationError for what cannot be a threshold."""
    return msgspec.toml.decode(_FILE.read_bytes(), type=_Thresholds).threshold


def find_missed(thresholds: Sequence[Threshold], result: SuiteResult) -> list[str]:
    """Say which thresholds a suite misses of those that hold at its size."""
    cases = {case.name: case for case in result.cases}
    found = (
        each.missed_by(cases[each.case])
        for each in thresholds
        if each.suite == result.suite and each.case in cases and result.size in each.sizes
    )
    return [missed for missed in found if missed is not None]
