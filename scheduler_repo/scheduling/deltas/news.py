"""The news of a change log: what may differ since a snapshot, and whether the log can say so at all."""

from collections.abc import Sequence
from typing import Final, Optional, Union

import msgspec

from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.scheduling.deltas.rows import NewsRow, UsageRow, add_amounts, amounts_of
from scheduler_repo.types import AgentId, SessionId

# Of a refresh of that many changes an eighth of the time is the news; then a full read may cost less.
MAX_NEWS: Final = 20_000
# Both measured: a changed session takes 40 µs, one that is read with all others 6 µs.
_FEWEST_TOO_MANY: Final = 200
_SHARE: Final = 5
# Of sessions, agents, groups, quotas, policies, reservations and usage.
_FOLLOWED: Final = frozenset({b"s", b"a", b"g", b"q", b"p", b"r", b"u"})
_TOO_MUCH: Final = b"#"


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


def read_news(row: NewsRow, pending: int) -> Union[News, FullReadReason]:
    """Sort the news by kind; a reason where a queue of ``pending`` sessions is better read anew."""
    kinds = frozenset(row.kinds or ())
    if _TOO_MUCH in kinds:
        return FullReadReason.TOO_MANY
    if not kinds <= _FOLLOWED:
        # A slot type, a table that was emptied, or a kind of a newer version.
        return FullReadReason.EVERYTHING
    session_ids = {each.bytes: each for each in row.sessions or ()}
    if len(session_ids) > max(_FEWEST_TOO_MANY, pending // _SHARE):
        return FullReadReason.TOO_MANY
    return News(
        tuple(session_ids.values()),
        tuple(dict.fromkeys(row.agents or ())),
        frozenset(map(_owner, row.quotas or ())),
        b"p" in kinds,
        b"r" in kinds,
        _usage(row),
    )


def _usage(row: NewsRow) -> list[UsageRow]:
    """Add up the usage of the same four owners, as of a session and of its kernels: that is mostly half."""
    if row.access_keys is None or row.users is None or row.projects is None or row.domains is None:
        return []
    rows: dict[tuple[str, bytes, bytes, str], UsageRow] = {}
    owners = zip(row.access_keys, row.users, row.projects, row.domains, strict=True)
    amounts = zip(row.session_counts or (), map(amounts_of, row.slots or ()), strict=True)
    for whose, (session_count, slots) in zip(owners, amounts, strict=True):
        access_key, user_id, project_id, domain_name = whose
        key = access_key, user_id.bytes, project_id.bytes, domain_name
        same = rows.get(key)
        if same is None:
            rows[key] = UsageRow(*whose, session_count, slots)
        else:
            add_amounts(same.slots, slots)
            rows[key] = same._replace(session_count=same.session_count + session_count)
    return [*rows.values()]


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
