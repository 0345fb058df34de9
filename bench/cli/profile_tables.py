"""The page on which two kept profiles are compared."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, Optional

import msgspec
from rich.table import Table

from bench.cli.tables import format_ms
from bench.profiling.comparison import ComparedCase, ComparedPhase, compare, find_differences
from bench.profiling.kept import Profile, name_cluster, read_profile
from scheduler_repo.cli.output.console import CommandConsole, plain_table
from scheduler_repo.cli.terminal import say_json
from scheduler_repo.errors import InvalidInput

_HEADER: Final = ("phase", "A, ms", "B, ms", "ratio", "server")
# A shorter phase says little; the JSON object has all of them.
_LEAST_SHARE: Final = 0.005
LEGEND: Final = "ratio: B to A, of what the caller waited; server: of the server's part."


def show_comparison(first: Path, second: Path, *, as_json: bool) -> None:
    """Print how two profiles differ; raises InvalidInput for a folder without one, or without a common case."""
    before, after = read_profile(first), read_profile(second)
    cases = compare(before, after)
    if not cases:
        raise InvalidInput(
            f"{first} and {second} have no case in common: suite {before.suite} and suite {after.suite}"
        )
    differences = find_differences(before, after)
    if as_json:
        say_json(msgspec.json.encode({"differences": differences, "cases": [_to_dict(case) for case in cases]}))
        return
    console = CommandConsole()
    for name, path, profile in (("A", first, before), ("B", second, after)):
        console.say(f"{name}: {path}, {_describe(profile)}")
    for difference in differences:
        console.say(f"differs: {difference}")
    for case in cases:
        console.say("", case.name)
        console.show(_lay_out(case))
    console.say("", LEGEND)


def _describe(profile: Profile) -> str:
    machine = profile.machine
    commit = machine.get("commit")
    of_commit = "" if commit is None else f", commit {commit}"
    age = machine.get("measured_at", "of unknown age")
    return f"{profile.suite}, {name_cluster(profile.size)}, {age}{of_commit}"


def _lay_out(case: ComparedCase) -> Table:
    return plain_table(_rows(case), _HEADER, range(1, len(_HEADER)))


def _rows(case: ComparedCase) -> Iterator[tuple[str, ...]]:
    total = max(case.phases[0].before_ms or 0.0, case.phases[0].after_ms or 0.0)
    for phase in case.phases:
        if max(phase.before_ms or 0.0, phase.after_ms or 0.0) >= total * _LEAST_SHARE:
            yield (
                phase.name,
                _ms(phase.before_ms),
                _ms(phase.after_ms),
                _ratio(phase.ratio),
                _ratio(phase.server_ratio),
            )


def _to_dict(case: ComparedCase) -> dict[str, object]:
    return {"name": case.name, "phases": [_phase_to_dict(phase) for phase in case.phases]}


def _phase_to_dict(phase: ComparedPhase) -> dict[str, object]:
    return {**msgspec.structs.asdict(phase), "ratio": phase.ratio, "server_ratio": phase.server_ratio}


def _ms(milliseconds: Optional[float]) -> str:
    return "" if milliseconds is None else format_ms(milliseconds)


def _ratio(ratio: Optional[float]) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
