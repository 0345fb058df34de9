"""Ways to break the engine, each of which the law must notice: in a statement, in the database, in Python."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Optional, Union

import pytest
from msgspec.structs import replace

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import Statement
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.repositories.scheduler import changes
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.deltas.news import find_break
from scheduler_repo.scheduling.deltas.rows import RawChanges
from scheduler_repo.scheduling.snapshot.build import build_token
from tests.support.databases import DriverConnection

_DEFINITION: Final = "SELECT pg_get_functiondef($1::regproc)"


class Break:
    """A break, to be made before anybody reads; undone with the monkeypatch, and in the database not at all."""

    async def make(self, monkeypatch: pytest.MonkeyPatch, owner: DriverConnection) -> None:
        """Make it."""
        raise NotImplementedError


class InStatement(Break):
    """Another text in one of the statements of a refresh."""

    def __init__(self, name: str, old: str, new: str) -> None:
        self._name, self._old, self._new = name, old, new

    async def make(self, monkeypatch: pytest.MonkeyPatch, owner: DriverConnection) -> None:
        statement: Statement = getattr(changes, self._name)
        assert self._old in statement.text
        broken = Statement(statement.name, statement.text.replace(self._old, self._new))
        monkeypatch.setattr(changes, self._name, broken)


class InFunction(Break):
    """Another text in a function of the database."""

    def __init__(self, name: str, old: str, new: str) -> None:
        self._name, self._old, self._new = name, old, new

    async def make(self, monkeypatch: pytest.MonkeyPatch, owner: DriverConnection) -> None:
        definition = await owner.fetchval(_DEFINITION, self._name)
        assert self._old in definition
        await owner.execute(definition.replace(self._old, self._new, 1))


class InPython(Break):
    """Something else in place of a function or method."""

    def __init__(self, target: str, other: object) -> None:
        self._target, self._other = target, other

    async def make(self, monkeypatch: pytest.MonkeyPatch, owner: DriverConnection) -> None:
        monkeypatch.setattr(self._target, self._other)


def _blind_to(reason: FullReadReason) -> Callable[..., Optional[FullReadReason]]:
    def find(
        held: SnapshotToken, current: SnapshotToken, *, is_kept: Optional[bool]
    ) -> Optional[FullReadReason]:
        found = find_break(held, current, is_kept=is_kept)
        return None if found is reason else found

    return find


async def _read_and_advance(db_sess: SASession, base: IndexedBase) -> Union[RawChanges, FullReadReason]:
    raw = await changes.fetch_changes(db_sess, base)
    if isinstance(raw, RawChanges):
        base.data = replace(base.data, token=build_token(raw.snapshot))
    return raw


_CHANGES: Final = "scheduler_repo.repositories.scheduler.changes"
_APPLY: Final = "scheduler_repo.scheduling.deltas.apply"
_TRACKER: Final = "scheduler_repo.repositories.scheduler.tracker.SnapshotTracker"

BREAKS: Final[Mapping[str, Break]] = {
    "what was in progress is skipped": InStatement(
        "CHANGES_SINCE", "SELECT pg_snapshot_xip($1::text::pg_snapshot)", "SELECT NULL::xid8"
    ),
    "a column is left out of a trigger's condition": InFunction(
        "log_parts_of_sessions",
        "FROM changed_rows",
        "FROM changed_rows WHERE to_jsonb(changed_rows) ->> 'status' <> 'PENDING'",
    ),
    "a delete is forgotten": InFunction(
        "log_sessions", "BEGIN", "BEGIN IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;"
    ),
    "a former key is forgotten": InFunction("log_former_key", "BEGIN", "BEGIN RETURN NULL;"),
    "an emptied table is forgotten": InFunction("log_truncate", "BEGIN", "BEGIN RETURN NULL;"),
    "who depends on a change is forgotten": InStatement(
        "CHANGED_SESSIONS", "WHERE depends_on = a.id", "WHERE depends_on = a.id AND false"
    ),
    "a dependency's success is forgotten": InStatement(
        "CHANGED_DEPENDENCIES", "status, result\nFROM links", "status, NULL::text AS result\nFROM links"
    ),
    "limits are swapped": InStatement(
        "CHANGED_OWNERS", "p.max_concurrent_sessions AS", "p.max_kernels_per_session AS"
    ),
    "usage is stale": InPython(f"{_APPLY}._sum_usage", lambda *_: {}),
    "a policy is forgotten": InFunction("log_resource_policies", "BEGIN", "BEGIN RETURN NULL;"),
    "nobody comes from behind the limit": InStatement("CHANGED_SESSIONS", "LIMIT $3", "LIMIT 0 * $3"),
    "the queue grows past its limit": InPython(f"{_APPLY}._cut", lambda *_: None),
    "a move to another group is forgotten": InStatement(
        "CHANGED_SESSIONS", "id = a.id AND scaling_group = $1 AND", "id = a.id AND $1::text IS NOT NULL AND"
    ),
    "a kernel's own group is forgotten": InStatement(
        "CHANGED_SESSIONS", "THEN scaling_group = $1 AND status = 'PENDING'", "THEN status = 'PENDING'"
    ),
    "a rising priority finds no more candidates": InStatement(
        "CHANGED_SESSIONS", "priority >= $8", "priority >= $8 AND false"
    ),
    "what was trimmed is taken for known": InPython(
        f"{_CHANGES}.find_break", _blind_to(FullReadReason.TRIMMED)
    ),
    "a trigger that was off is taken for on": InPython(
        f"{_CHANGES}.find_break", _blind_to(FullReadReason.TRIGGERS_CHANGED)
    ),
    "what is held is taken for newer before it is": InPython(
        "tests.deltas.held_answers.fetch_changes", _read_and_advance
    ),
    "two refresh one answer at a time": InPython(f"{_TRACKER}._turn", lambda *_: asyncio.Lock()),
    "usage of what is deleted is kept": InFunction(
        "log_kernel_usage", "BEGIN", "BEGIN IF TG_OP = 'DELETE' THEN RETURN NULL; END IF;"
    ),
    "usage that is folded is counted twice": InFunction(
        "fold_usage", "SET folded = snapshot_without_own(until)", "SET folded = folded"
    ),
}
