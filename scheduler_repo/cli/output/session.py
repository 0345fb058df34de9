"""One session, and why it waits, as a page for people and as JSON for programs."""

from collections.abc import Sequence
from typing import Optional

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_amount
from scheduler_repo.cli.output.console import plain_table
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import SessionState
from scheduler_repo.scheduling.explain.session import explain_session
from scheduler_repo.scheduling.explain.text import (
    age_text,
    describe,
    explanation_tables,
    queue_facts,
    reason_facts,
    time_text,
)
from scheduler_repo.types import SessionStatus


def encode_session(
    found: SessionState, data: Optional[SchedulingData], locked: Sequence[RowLocked] = ()
) -> bytes:
    """Encode the session; ``explanation`` is null for one that does not wait, which has no ``data``."""
    text, explanation = _status_text(found), None
    if data is not None:
        explanation = explain_session(data, found.session_id)
        text = describe(explanation.waiting, data)
    encoded = {"session": found, "text": text, "explanation": explanation, "locked": locked}
    return msgspec.json.encode(encoded)


def lay_out_session(
    found: SessionState, data: Optional[SchedulingData], locked: Sequence[RowLocked] = ()
) -> RenderableType:
    """Lay the session out and, if it waits, every figure of its explanation."""
    observed_at = time_text((found if data is None else data).observed_at)
    facts = [("session", str(found.session_id)), ("name", found.name), ("group", found.scaling_group)]
    facts += [("status", _status_text(found)), ("observed at", observed_at)]
    facts += [("locked now", row.describe()) for row in locked]
    if data is None:
        if found.status is SessionStatus.PENDING:
            facts.append(("", "it left the queue and came back during the look-up; ask again"))
        facts.extend(("agent", agent_id) for agent_id in found.agent_ids)
        return Group(plain_table(facts), "")
    explanation = explain_session(data, found.session_id)
    parts: list[RenderableType] = [plain_table([*facts, *reason_facts(explanation, data)])]
    for table in explanation_tables(explanation, format_amount):
        parts += ["", table.title]
        if table.rows:
            first, *others = table.columns
            rows = [(f"  {name}", *cells) for name, *cells in table.rows]
            parts.append(plain_table(rows, (f"  {first}", *others), table.numbers))
    return Group(*parts, "", plain_table(queue_facts(explanation, data)), "")


def _status_text(found: SessionState) -> str:
    result = "" if found.result is None else f" with {found.result.value}"
    age = age_text(found.observed_at - found.status_changed_at)
    return f"{found.status.value}{result} since {time_text(found.status_changed_at)}, {age}"
