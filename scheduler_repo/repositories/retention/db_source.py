"""The statements of purges: what has ended and is old, in batches that nobody waits for."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Final, Optional

from asyncpg import Record

from scheduler_repo.database.engine import SASession, skips_locked
from scheduler_repo.database.row_locks import PURGED_ROWS, find_locked_rows
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.retention import ArchivedSession, PurgeResult
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.steps import in_slices
from scheduler_repo.types import SessionId

PURGE_CUTOFF = load_statement("retention/purge_cutoff")
PURGE_COUNT = load_statement("retention/purge_count")
PURGE_CANDIDATES = load_statement("retention/purge_candidates")
PURGE_NEEDED_SESSIONS = load_statement("retention/purge_needed_sessions")
PURGE_SESSIONS = load_statement("retention/purge_sessions")
PURGE_ARCHIVED_SESSIONS = load_statement("retention/purge_archived_sessions")
PURGE_ARCHIVED_KERNELS = load_statement("retention/purge_archived_kernels")
PURGE_ARCHIVED_HISTORY = load_statement("retention/purge_archived_history")
PURGE_ARCHIVED_MOUNTS = load_statement("retention/purge_archived_mounts")
PURGE_AGENT_HISTORY = load_statement("retention/purge_agent_history")
PURGE_OPERATIONS = load_statement("retention/purge_operations")

# What is archived of a session besides its row, by the field of ArchivedSession.
_BELONGINGS: Final = {
    "kernels": PURGE_ARCHIVED_KERNELS,
    "history": PURGE_ARCHIVED_HISTORY,
    "mounts": PURGE_ARCHIVED_MOUNTS,
}


ARCHIVED_SESSIONS: Final = RowReader("session", partial(build_struct, ArchivedSession), "session_id")


class RetentionDBSource(DBSource):
    """Finds, archives and deletes what ended before a cutoff; most methods cost one statement."""

    async def get_cutoff(self, db_sess: SASession, older_than: timedelta) -> datetime:
        """Return the time so long ago, by the database's clock."""
        ((cutoff,),) = await fetch_rows(db_sess, PURGE_CUTOFF, older_than)
        found: datetime = cutoff
        return found

    async def count_purgeable(self, db_sess: SASession, cutoff: datetime) -> PurgeResult:
        """Count what a purge would delete and keep."""
        (counts,) = await fetch_rows(db_sess, PURGE_COUNT, cutoff)
        return PurgeResult(**counts)

    async def lock_sessions(
        self,
        db_sess: SASession,
        cutoff: datetime,
        after: tuple[Optional[datetime], Optional[SessionId]],
        limit: int,
    ) -> tuple[list[Record], list[SessionId]]:
        """List finished sessions behind ``after``, and lock those that nobody else has locked.

        Returns all, and those that are locked; in a second try, for one statement more, without those of which
        another transaction holds a row that would go with them.
        """
        seen = await fetch_rows(db_sess, PURGE_CANDIDATES, cutoff, *after, limit)
        locked = [row["session_id"] for row in seen if row["is_locked"]]
        if skips_locked(db_sess) and locked:
            held = {each for each, _ in await find_locked_rows(db_sess, locked, PURGED_ROWS)}
            locked = [each for each in locked if each not in held]
        return seen, locked

    async def list_unneeded(self, db_sess: SASession, session_ids: Sequence[SessionId]) -> list[SessionId]:
        """Leave out the sessions on which an unfinished session depends."""
        if not session_ids:
            return []
        needed = {row["session_id"] for row in await fetch_rows(db_sess, PURGE_NEEDED_SESSIONS, session_ids)}
        return [session_id for session_id in session_ids if session_id not in needed]

    async def list_archived(
        self, db_sess: SASession, session_ids: Sequence[SessionId]
    ) -> tuple[ArchivedSession, ...]:
        """Read sessions with all that is deleted with them, those that can be read; costs four statements."""
        rows = await fetch_rows(db_sess, PURGE_ARCHIVED_SESSIONS, session_ids)
        archived = {
            row["session_id"]: dict(row, kernels=[], history=[], mounts=[]) async for row in in_slices(rows)
        }
        for name, statement in _BELONGINGS.items():
            async for row in in_slices(await fetch_rows(db_sess, statement, session_ids)):
                archived[row["session_id"]][name].append(dict(row))
        return await ARCHIVED_SESSIONS.read(archived.values())

    async def delete_sessions(
        self, db_sess: SASession, session_ids: Sequence[SessionId], cutoff: datetime
    ) -> tuple[int, int]:
        """Delete locked sessions that no unfinished one needs, with all that belongs to them.

        Return how many sessions and kernels went.
        """
        ((sessions, kernels),) = await fetch_rows(db_sess, PURGE_SESSIONS, session_ids, cutoff)
        return sessions, kernels

    async def delete_agent_history(
        self, db_sess: SASession, cutoff: datetime, after: tuple[Optional[datetime], Optional[int]], limit: int
    ) -> Record:
        """Delete old changes of agents, behind ``after``; return how many were seen, and the last of them."""
        (row,) = await fetch_rows(db_sess, PURGE_AGENT_HISTORY, cutoff, *after, limit)
        return row

    async def delete_operations(
        self, db_sess: SASession, cutoff: datetime, after: Optional[datetime], limit: int
    ) -> Record:
        """Delete old operations; returns how many went and the time of the newest of them."""
        (row,) = await fetch_rows(db_sess, PURGE_OPERATIONS, cutoff, after, limit)
        return row
