"""The statements of a refresh: what has changed since a base was read, all of one snapshot."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Optional, Union

from scheduler_repo.database import lookups
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.log_keeping import note_logs
from scheduler_repo.database.statements import Statement, fetch_rows, load_statement
from scheduler_repo.entities.snapshot_changes import FullReadReason
from scheduler_repo.scheduling.deltas.base import IndexedBase, key_of_text, owners_of, text_of_key
from scheduler_repo.scheduling.deltas.news import MAX_NEWS, News, find_break, read_news
from scheduler_repo.scheduling.deltas.rows import (
    ChangedAgentRow,
    ChangedOwnerRow,
    ChangedSessionRow,
    NewsRow,
    RawChanges,
)
from scheduler_repo.scheduling.snapshot.build import build_token
from scheduler_repo.scheduling.snapshot.rows import (
    GroupOptionsRow,
    PendingDependencyRow,
    ReservedKernelRow,
    SnapshotRow,
)
from scheduler_repo.types import OwnerScope

CHANGES_SINCE = load_statement("delta/changes_since")
CHANGED_SESSIONS = load_statement("delta/changed_sessions")
CHANGED_DEPENDENCIES = load_statement("delta/changed_dependencies")
CHANGED_AGENTS = load_statement("delta/changed_agents")
CHANGED_OWNERS = load_statement("delta/changed_owners")

REFRESH_STATEMENTS: tuple[Statement, ...] = (
    CHANGES_SINCE,
    CHANGED_SESSIONS,
    CHANGED_DEPENDENCIES,
    CHANGED_AGENTS,
    CHANGED_OWNERS,
    lookups.RESERVATIONS,
)
# The parts of its row.
_SNAPSHOT = slice(0, len(SnapshotRow._fields))
_GROUP = slice(_SNAPSHOT.stop, _SNAPSHOT.stop + len(GroupOptionsRow._fields))
_NEWS = slice(_GROUP.stop, None)
_LOWEST_PRIORITY = -(2**31)


async def fetch_changes(db_sess: SASession, base: IndexedBase) -> Union[RawChanges, FullReadReason]:
    """Read what may differ from a base, or say why all must be read; raises ScalingGroupNotFound.

    The base decides what is asked for: who is in its queue, where that ends, which owners it has. Costs one
    statement where nothing has changed, two or three mostly, six at the most; time grows with the changes, with
    what depends on them, and with the usage that is not folded yet if an owner comes.
    """
    data = base.data
    group, held = data.scaling_group.name, data.token
    if data.unreadable:
        return FullReadReason.UNREADABLE
    if held.history is None:
        return FullReadReason.NO_HISTORY
    (row,) = await fetch_rows(db_sess, CHANGES_SINCE, held.snapshot, group, MAX_NEWS)
    snapshot, options, told = SnapshotRow(*row[_SNAPSHOT]), GroupOptionsRow(*row[_GROUP]), NewsRow(*row[_NEWS])
    note_logs(db_sess, is_long=snapshot.is_log_long)
    broken = find_break(held, build_token(snapshot), is_kept=told.is_kept)
    if broken is not None:
        return broken
    if options.name is None:
        raise lookups.no_such_group(group)
    news = read_news(told, len(data.pending_sessions))
    if isinstance(news, FullReadReason):
        return news
    sessions = await _fetch_sessions(db_sess, base, news)
    dependent = [row.session_id for row in sessions if row.is_pending and row.has_dependencies]
    return RawChanges(
        snapshot=snapshot,
        scaling_group=options,
        session_ids=news.session_ids,
        agent_ids=news.agent_ids,
        usage=news.usage,
        sessions=sessions,
        dependencies=await _fetch_dependencies(db_sess, dependent),
        agents=await _fetch_agents(db_sess, base, news),
        owners=await _fetch_owners(db_sess, base, news, sessions),
        reservations=await _fetch_reservations(db_sess, base, news),
    )


async def _fetch_sessions(db_sess: SASession, base: IndexedBase, news: News) -> Sequence[ChangedSessionRow]:
    if not news.session_ids:
        return ()
    edge = base.edge
    leaving = sum(each.bytes in base.sessions for each in news.session_ids)
    highest = base.highest_priority
    rows = await fetch_rows(
        db_sess,
        CHANGED_SESSIONS,
        base.data.scaling_group.name,
        news.session_ids,
        leaving,
        *((None, None, None) if edge is None else (edge.priority, edge.created_at, edge.session_id)),
        base.data.scaling_group.preemption_scope is not None,
        _LOWEST_PRIORITY if highest is None else highest,
    )
    return [ChangedSessionRow(*row) for row in rows]


async def _fetch_dependencies(
    db_sess: SASession, dependent: Sequence[object]
) -> Sequence[PendingDependencyRow]:
    if not dependent:
        return ()
    return [PendingDependencyRow(*row) for row in await fetch_rows(db_sess, CHANGED_DEPENDENCIES, dependent)]


async def _fetch_agents(db_sess: SASession, base: IndexedBase, news: News) -> Sequence[ChangedAgentRow]:
    if not news.agent_ids:
        return ()
    rows = await fetch_rows(db_sess, CHANGED_AGENTS, base.data.scaling_group.name, news.agent_ids)
    return [ChangedAgentRow(*row) for row in rows]


async def _fetch_owners(
    db_sess: SASession, base: IndexedBase, news: News, sessions: Iterable[ChangedSessionRow]
) -> Sequence[ChangedOwnerRow]:
    """Ask for the owners that may come into the queue, and for those in it whose limits may differ."""
    held = base.session_counts
    come = chain.from_iterable(owners_of(row) for row in sessions if row.is_pending)
    asked = {text_of_key(key): None for key in come if key not in held}
    asked.update((name, None) for name in news.quotas if key_of_text(*name) in held)
    if news.has_policies:
        asked.update(
            ((scope.value, str(each.owner_id)), None)
            for scope in OwnerScope
            for each in base.data.owners_of(scope)
            if each.resource_policy is not None
        )
    if not asked:
        return ()
    rows = await fetch_rows(db_sess, CHANGED_OWNERS, [name[0] for name in asked], [name[1] for name in asked])
    return [ChangedOwnerRow(*row) for row in rows]


async def _fetch_reservations(
    db_sess: SASession, base: IndexedBase, news: News
) -> Optional[Sequence[ReservedKernelRow]]:
    # What is reserved is what the kernels request, and these may have changed.
    if not news.has_reservations and not (base.data.reservations and news.session_ids):
        return None
    rows = await fetch_rows(db_sess, lookups.RESERVATIONS, base.data.scaling_group.name)
    return [ReservedKernelRow(*row) for row in rows]
