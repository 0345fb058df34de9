"""Which tokens can be followed by the change log, and why the others cannot."""

from datetime import UTC, datetime, timedelta
from typing import Optional
from uuid import UUID

import pytest
from msgspec.structs import replace

from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import (
    ChangeHistory,
    DatabaseIdentity,
    ServerLife,
    Snapshot,
    SnapshotToken,
)
from scheduler_repo.scheduling.deltas.news import find_break

STARTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
DATABASE = DatabaseIdentity(1, 2, 3, STARTED_AT)
HISTORY = ChangeHistory(4, 5, 6, ServerLife(UUID(int=7)), "8")
TOKEN = SnapshotToken(Snapshot("10:20:12"), DATABASE, HISTORY)

ODD_TOKENS = {
    FullReadReason.NO_HISTORY: replace(TOKEN, history=None),
    FullReadReason.RESTARTED: replace(TOKEN, database=replace(DATABASE, started_at=STARTED_AT + timedelta(1))),
    FullReadReason.OTHER_TIMELINE: replace(TOKEN, history=replace(HISTORY, timeline=7)),
    FullReadReason.CRASHED: replace(TOKEN, history=replace(HISTORY, life=ServerLife(UUID(int=8)))),
    FullReadReason.TRIGGERS_CHANGED: replace(TOKEN, history=replace(HISTORY, triggers="9")),
}


@pytest.mark.parametrize("reason", ODD_TOKENS)
def test_an_odd_token_is_refused_whichever_side_it_is_on(reason: FullReadReason) -> None:
    odd = ODD_TOKENS[reason]
    assert find_break(odd, TOKEN, is_kept=True) is reason
    assert find_break(TOKEN, odd, is_kept=True) is reason


@pytest.mark.parametrize(
    "other",
    [
        replace(TOKEN, database=replace(DATABASE, system_identifier=9)),
        replace(TOKEN, database=replace(DATABASE, database_oid=9)),
        replace(TOKEN, database=replace(DATABASE, table_oid=9)),
        replace(TOKEN, database=replace(DATABASE, database_oid=9, started_at=STARTED_AT + timedelta(1))),
        replace(TOKEN, history=replace(HISTORY, schema_oid=9)),
        replace(TOKEN, history=replace(HISTORY, log_oid=9)),
    ],
)
def test_another_database_is_none_of_this_ones(other: SnapshotToken) -> None:
    assert find_break(other, TOKEN, is_kept=True) is FullReadReason.OTHER_DATABASE


@pytest.mark.parametrize(
    ("snapshot", "is_kept", "reason"),
    [
        ("10:20:12", True, None),
        ("10:19:", True, None),
        ("10:21:", True, FullReadReason.FUTURE),
        ("10:19:", False, FullReadReason.TRIMMED),
        ("10:19:", None, FullReadReason.TRIMMED),
    ],
)
def test_a_snapshot_must_lie_between_the_floor_and_now(
    snapshot: str, is_kept: Optional[bool], reason: Optional[FullReadReason]
) -> None:
    held = replace(TOKEN, snapshot=Snapshot(snapshot))
    assert find_break(held, TOKEN, is_kept=is_kept) is reason
