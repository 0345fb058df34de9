"""The news of a change log: what may differ since a snapshot, and whether the log can say so at all."""

from collections.abc import Sequence
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.scheduling.deltas.rows import ChangesSinceRow, UsageRow
from scheduler_repo.types import AccessKey, AgentId, DomainName, ProjectId, SessionId, UserId

# Of a refresh of that many changes an eighth of the time is the news; then a full read may cost less.
MAX_NEWS: Final = 20_000
_FEWEST_TOO_MANY: Final = 1_000
_SHARE: Final = 5


class News(msgspec.Struct, frozen=True):
    """The entities that the log names, which may differ, by kind, and the rows of usage."""

    session_ids: Sequence[SessionId]
    agent_ids: Sequence[AgentId]
    quotas: frozenset[tuple[str, str]]
    has_policies: bool
    has_reservations: bool
    usage: Sequence[UsageRow]


def find_break(
    held: SnapshotToken, current: SnapshotToken, *, is_kept: Optional[bool]
) -> Optional[FullReadReason]:
    """Say why what changed between two tokens cannot be told by the log; None if it can."""
    if held.database.started_at != current.database.started_at and _same_place(held, current):
        return FullReadReason.RESTARTED
    if held.database != current.database:
        return FullReadReason.OTHER_DATABASE
    was, now = held.history, current.history
    if was is None or now is None:
        return FullReadReason.NO_HISTORY
    if (was.schema_oid, was.log_oid) != (now.schema_oid, now.log_oid):
        return FullReadReason.OTHER_DATABASE
    if was.timeline != now.timeline:
        return FullReadReason.OTHER_TIMELINE
    if was.life != now.life:
        return FullReadReason.CRASHED
    if was.triggers != now.triggers:
        return FullReadReason.TRIGGERS_CHANGED
    if held.xmax > current.xmax:
        return FullReadReason.FUTURE
    return None if is_kept else FullReadReason.TRIMMED


def read_news(rows: Sequence[ChangesSinceRow], pending: int) -> Union[News, FullReadReason]:
    """Sort the rows of news by kind; a reason where a queue of ``pending`` sessions is better read anew."""
    if len(rows) >= MAX_NEWS:
        return FullReadReason.TOO_MANY
    session_ids: dict[bytes, SessionId] = {}
    agent_ids: dict[str, AgentId] = {}
    quotas: set[tuple[str, str]] = set()
    has_policies = has_reservations = False
    usage: list[UsageRow] = []
    for row in rows:
        sessions, names = row.sessions or (), row.names or ()
        if row.kind == b"u":
            usage.append(_usage(row))
        elif row.kind == b"s":
            session_ids.update((each.bytes, each) for each in sessions)
        elif row.kind == b"r":
            has_reservations = True
        elif row.kind == b"a":
            agent_ids.update((each, AgentId(each)) for each in names)
        elif row.kind == b"q":
            quotas.update(_owner(name) for name in names)
        elif row.kind == b"p":
            has_policies = True
        elif row.kind == b"#":
            return FullReadReason.TOO_MANY
        elif row.kind not in (b"g", None):
            # A slot type, a table that was emptied, or a kind of a newer version.
            return FullReadReason.EVERYTHING
    if len(session_ids) > max(_FEWEST_TOO_MANY, pending // _SHARE):
        return FullReadReason.TOO_MANY
    return News(
        tuple(session_ids.values()),
        tuple(agent_ids.values()),
        frozenset(quotas),
        has_policies,
        has_reservations,
        usage,
    )


def _usage(row: ChangesSinceRow) -> UsageRow:
    if row.names is None or row.owner_ids is None:
        raise ValueError(f"changes_since.sql returned a usage without owners: {row!r}")
    (access_key, domain_name), (user_id, project_id) = row.names, row.owner_ids
    return UsageRow(
        AccessKey(access_key),
        UserId(user_id),
        ProjectId(project_id),
        DomainName(domain_name),
        row.session_count or 0,
        [int(amount) for amount in row.slots or ()],
    )


def _owner(name: str) -> tuple[str, str]:
    scope, _, owner_id = name.partition(":")
    return scope, owner_id


def _same_place(held: SnapshotToken, current: SnapshotToken) -> bool:
    one, other = held.database, current.database
    return (one.system_identifier, one.database_oid, one.table_oid) == (
        other.system_identifier,
        other.database_oid,
        other.table_oid,
    )
