"""One replayed plan, as a page for people and as JSON for programs."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.cli.output.console import plain_table, stack
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.scheduling.explain.replay import ReplayedPlan
from scheduler_repo.scheduling.explain.text import a_few, time_text
from scheduler_repo.types import SessionId


def encode_replay(data: SchedulingData, planner: str, replayed: ReplayedPlan) -> bytes:
    """Encode the decisions, and why each session that is not placed waits after them."""
    return msgspec.json.encode(
        {
            "scaling_group": data.scaling_group.name,
            "observed_at": data.observed_at,
            "planner": planner,
            "placed": replayed.placed,
            "rejected": [
                {**msgspec.structs.asdict(each), "text": str(each.to_error())} for each in replayed.rejected
            ],
            "waiting": [
                {"session_id": each.waiting.session_id, "reason": each.waiting.reason, "text": each.text}
                for each in replayed.waiting
            ],
        }
    )


def lay_out_replay(
    data: SchedulingData, planner: str, replayed: ReplayedPlan, seconds: float, most: int
) -> RenderableType:
    """Lay out the decisions, at most so many lines of each kind, ids whole at 80 columns."""
    names = {session.session_id: session.name for session in data.pending_sessions}
    group, pending = data.scaling_group.name, format_count(len(data.pending_sessions), "pending session")
    agents = format_count(len(data.agents), "agent")
    parts: list[RenderableType] = [
        plain_table(
            [
                ("group", f"{group}, {pending}, {agents}"),
                ("observed at", time_text(data.observed_at)),
                ("planner", f"{planner}, {seconds * 1000:.1f} ms"),
                ("placed", f"{len(replayed.placed):,}"),
                *_counts(replayed),
            ]
        )
    ]
    kinds: list[tuple[str, int, Iterator[tuple[SessionId, str]]]] = [
        ("placed", len(replayed.placed), ((each.session_id, _agents(each)) for each in replayed.placed)),
        (
            "rejected by the gate",
            len(replayed.rejected),
            ((each.session_id, str(each.to_error())) for each in replayed.rejected),
        ),
        (
            "waits",
            len(replayed.waiting),
            (
                (each.waiting.session_id, f"{each.waiting.reason.value}: {each.text}")
                for each in replayed.waiting
            ),
        ),
    ]
    for kind, count, lines in kinds:
        if count:
            rows = [
                (stack(str(session_id), f"  {names.get(session_id, 'of no session that waits')}"), text)
                for session_id, text in islice(lines, most)
            ]
            parts += ["", plain_table(rows, (kind, "on" if kind == "placed" else "why"))]
        if count > most:
            parts.append(f"and {count - most:,} more; --show sets how many, --json shows all")
    return Group(*parts, "")


def _counts(replayed: ReplayedPlan) -> Iterator[tuple[str, str]]:
    if replayed.rejected:
        yield "rejected", f"{len(replayed.rejected):,} by the gate"
    yield "waiting", f"{len(replayed.waiting):,}"
    for reason, count in Counter(each.waiting.reason for each in replayed.waiting).most_common():
        yield f"  {reason.value}", f"{count:,}"


def _agents(allocation: SessionAllocation) -> str:
    return a_few(dict.fromkeys(kernel.agent_id for kernel in allocation.kernels))
