"""Two kept profiles beside each other: each phase's time in both, and the ratio."""

from collections.abc import Iterator, Mapping
from typing import Final, Optional

import msgspec

from bench.profiling.kept import CaseProfile, Profile
from bench.profiling.phases import Phase

_TOTAL: Final = "in all"
# What is meant to differ, or does from one minute to the next.
_EXPECTED: Final = frozenset({"measured_at", "commit", "scheduler_repo", "load_average"})


class ComparedPhase(msgspec.Struct, frozen=True):
    """One phase in both profiles, in milliseconds; None where it is in one of them only."""

    name: str
    before_ms: Optional[float]
    after_ms: Optional[float]
    before_server_ms: Optional[float] = None
    after_server_ms: Optional[float] = None

    @property
    def ratio(self) -> Optional[float]:
        """How many times as long the second takes; None if it cannot be said."""
        return _divide(self.after_ms, self.before_ms)

    @property
    def server_ratio(self) -> Optional[float]:
        """The same of the server's part."""
        return _divide(self.after_server_ms, self.before_server_ms)


class ComparedCase(msgspec.Struct, frozen=True):
    """One case that both profiles have: all of it first, then its phases, the longest first."""

    name: str
    phases: tuple[ComparedPhase, ...]


def compare(before: Profile, after: Profile) -> tuple[ComparedCase, ...]:
    """Compare the cases that both have, phase by phase."""
    others = {case.name: case for case in after.cases}
    return tuple(_compare_cases(case, others[case.name]) for case in before.cases if case.name in others)


def find_differences(before: Profile, after: Profile) -> tuple[str, ...]:
    """Say in what else than time the two differ, so that their times may mean little beside each other."""
    return tuple(_differences(before, after))


def _differences(before: Profile, after: Profile) -> Iterator[str]:
    for what in ("suite", "size", "server_clock"):
        found = getattr(before, what), getattr(after, what)
        if found[0] != found[1]:
            yield f"{what.replace('_', ' ')}: {found[0]} and {found[1]}"
    names = {case.name for case in before.cases}, {case.name for case in after.cases}
    for mine, other, which in ((names[0], names[1], "first"), (names[1], names[0], "second")):
        if mine - other:
            yield f"cases of the {which} alone: {', '.join(sorted(mine - other))}"
    yield from _unequal(before.machine, after.machine, "")


def _unequal(before: Mapping[str, object], after: Mapping[str, object], prefix: str) -> Iterator[str]:
    for name in dict.fromkeys((*before, *after)):
        mine, other = before.get(name), after.get(name)
        if name in _EXPECTED or mine == other:
            continue
        if isinstance(mine, Mapping) and isinstance(other, Mapping):
            yield from _unequal(mine, other, f"{name}, ")
        else:
            yield f"{prefix}{name.replace('_', ' ')}: {mine} and {other}"


def _compare_cases(before: CaseProfile, after: CaseProfile) -> ComparedCase:
    mine, others = _by_label(before), _by_label(after)
    phases = [
        _compare_phases(label, mine.get(label), others.get(label)) for label in dict.fromkeys((*mine, *others))
    ]
    phases.sort(key=lambda phase: -max(phase.before_ms or 0.0, phase.after_ms or 0.0))
    return ComparedCase(before.name, (ComparedPhase(_TOTAL, before.total_ms, after.total_ms), *phases))


def _by_label(case: CaseProfile) -> dict[str, Phase]:
    return {phase.label: phase for phase in case.phases}


def _compare_phases(label: str, before: Optional[Phase], after: Optional[Phase]) -> ComparedPhase:
    return ComparedPhase(
        label,
        None if before is None else before.wall_ms,
        None if after is None else after.wall_ms,
        None if before is None else before.server_ms,
        None if after is None else after.server_ms,
    )


def _divide(part: Optional[float], whole: Optional[float]) -> Optional[float]:
    return None if part is None or not whole else part / whole
