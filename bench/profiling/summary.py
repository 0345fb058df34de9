"""What dominates, in ten lines at the most."""

from collections.abc import Iterator, Sequence
from typing import Final, Optional

from bench.cli.tables import format_ms
from bench.profiling.frames import HotFrame
from bench.profiling.kept import CaseProfile, name_cluster
from bench.profiling.phases import Phase
from bench.profiling.sampling import WAITING
from scheduler_repo.cli.output.amounts import format_count

LINES: Final = 10
_OF_ONE_CASE: Final = 5
_FIRST_PHASES: Final = 3
_LEAST_SHARE: Final = 0.02
_MEBIBYTE: Final = 2**20
_KIBIBYTE: Final = 2**10


def sum_up(suite: str, size: str, cases: Sequence[CaseProfile]) -> tuple[str, ...]:
    """Say what takes the time in the slowest cases, and what else there is to know of the slowest of all."""
    slowest = sorted(cases, key=lambda case: -case.total_ms)[: LINES - 1 - _OF_ONE_CASE]
    shown = [case for case in cases if case in slowest]
    left = len(cases) - len(shown)
    of_how_many = f", the {len(shown)} slowest of {len(cases)} cases" if left else ""
    head = f"{suite}, {name_cluster(size)}{of_how_many}; medians, ms:"
    lines = (head, *(_sum_up_case(case) for case in shown), *_look_closer(slowest[0], len(cases) > 1))
    return (*lines, *_look_further(slowest[0]))[:LINES]


def _sum_up_case(case: CaseProfile) -> str:
    longest = sorted(case.phases, key=lambda phase: -phase.wall_ms)[:_FIRST_PHASES]
    first = [phase for phase in longest if phase.wall_ms >= _LEAST_SHARE * case.total_ms]
    return f"{case.name} {format_ms(case.total_ms)}: " + ", ".join(_share(phase, case) for phase in first)


def _share(phase: Phase, case: CaseProfile) -> str:
    return f"{phase.name} {_percent(phase.wall_ms, case.total_ms)}"


def _look_closer(case: CaseProfile, is_one_of_several: bool) -> Iterator[str]:
    of_case = f" ({case.name})" if is_one_of_several else ""
    server = [phase for phase in case.phases if phase.server_ms is not None]
    waited = sum(phase.wall_ms for phase in case.phases if not phase.is_python)
    worked = sum(phase.server_ms or 0.0 for phase in server)
    python = sum(phase.wall_ms for phase in case.phases if phase.is_python)
    # Medians of parts are not the parts of a median.
    whole = waited + python
    yield (
        f"in all{of_case}: server {_percent(worked, whole)}, wire and driver "
        f"{_percent(max(0.0, waited - worked), whole)}, Python {_percent(python, whole)}"
    )
    heaviest = max(server, key=lambda phase: phase.server_ms or 0.0, default=None)
    yield "server: nothing was sent to it" if heaviest is None else _describe_statement(heaviest)
    yield f"Python: {_describe_frames([frame for frame in case.hottest if frame.name != WAITING])}"
    yield f"memory: {format_bytes(case.peak_bytes)} at the peak: {_describe_frames(case.allocated)}"
    yield f"event loop: {_describe_blocks(case)}"


def _look_further(case: CaseProfile) -> Iterator[str]:
    """Say what else there is to know, for as many lines as are left."""
    statements = [phase for phase in case.phases if phase.server_ms is not None]
    answers = [phase for phase in statements if phase.received is not None]
    if answers:
        largest = max(answers, key=lambda phase: phase.received or 0.0)
        received = sum(phase.received or 0.0 for phase in answers)
        yield (
            f"wire: {largest.name} is the largest answer, {format_bytes(largest.received)} of "
            f"{format_bytes(received)}"
        )
    if len(statements) > 1:
        second = sorted(statements, key=lambda phase: -(phase.server_ms or 0.0))[1]
        yield _describe_statement(second).replace("is the heaviest", "is the next")
    rest = sorted(case.phases, key=lambda phase: -phase.wall_ms)[_FIRST_PHASES : 2 * _FIRST_PHASES]
    if rest:
        yield "then: " + ", ".join(_share(phase, case) for phase in rest)


def _describe_statement(phase: Phase) -> str:
    rows = "" if phase.rows is None else f" for {format_count(round(phase.rows), 'row')}"
    received = "" if phase.received is None else f", {format_bytes(phase.received)}"
    return (
        f"server: {phase.name} is the heaviest, {format_ms(phase.server_ms or 0.0)} of "
        f"{format_ms(phase.wall_ms)} ms{rows}{received}"
    )


def _describe_frames(frames: Sequence[HotFrame]) -> str:
    if not frames:
        return "nothing that a sample saw"
    return ", ".join(f"{frame.name} {_percent(frame.share, 1)}" for frame in frames[:2])


def _describe_blocks(case: CaseProfile) -> str:
    if not case.blocks:
        return "never blocked for a millisecond"
    longest = case.blocks[0]
    notes = [
        f"{format_ms(part)} {what}"
        for part, what, is_worth_it in (
            (longest.collector_ms, "by the collector", longest.collector_ms * 10 > longest.ms),
            (longest.processor_ms, "on a processor", longest.processor_ms * 2 < longest.ms),
        )
        if is_worth_it
    ]
    where = [f"in {longest.stack[-1].split('  ')[0]}"] if longest.stack else []
    return ", ".join((f"blocked {format_ms(longest.ms)} ms at the longest", *notes, *where))


def format_bytes(count: Optional[float]) -> str:
    """Write a number of bytes in the unit that suits it."""
    if count is None:
        return ""
    if count >= _MEBIBYTE:
        return f"{count / _MEBIBYTE:,.1f} MiB"
    return f"{count / _KIBIBYTE:,.1f} KiB" if count >= _KIBIBYTE else f"{count:,.0f} B"


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
