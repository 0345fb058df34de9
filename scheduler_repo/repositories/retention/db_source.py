"""Purging what has ended from PostgreSQL, in batches that nobody waits for."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, Optional
from uuid import UUID

import msgspec

from scheduler_repo.database.change_listeners import announce_changes
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession, driver_connection
from scheduler_repo.database.statements import Statement, fetch_rows, load_statement
from scheduler_repo.entities.retention import ArchivedSession, PurgeResult
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.resilience.layers import (
    BULK_DEADLINE,
    LayerType,
    layer_resilience,
)
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import SessionId
from scheduler_repo.validation import BatchSize, check_range, check_retention

PURGE_CUTOFF = load_statement("retention/purge_cutoff")
PURGE_COUNT = load_statement("retention/purge_count")
PURGE_CANDIDATES = load_statement("retention/purge_candidates")
PURGE_NEEDED_SESSIONS = load_statement("retention/purge_needed_sessions")
PURGE_SESSIONS = load_statement("retention/purge_sessions")
PURGE_ARCHIVED_SESSIONS = load_statement("retention/purge_archived_sessions")
PURGE_ARCHIVED_KERNELS = load_statement("retention/purge_archived_kernels")
PURGE_ARCHIVED_HISTORY = load_statement("retention/purge_archived_history")
PURGE_ARCHIVED_MOUNTS = load_statement("retention/purge_archived_mounts")
PURGE_AGENT_HISTORY_TURN = load_statement("retention/purge_agent_history_turn")
PURGE_AGENT_HISTORY = load_statement("retention/purge_agent_history")
PURGE_OPERATIONS = load_statement("retention/purge_operations")

DEFAULT_BATCH_SIZE: Final = 500

# Gets the sessions of a batch before it is committed; what it raises undoes the batch.
Archive = Callable[[Sequence[ArchivedSession]], Awaitable[None]]
# Is told, after each commit, how much has gone so far.
OnBatch = Callable[[PurgeResult], None]

# The deletes that follow from foreign keys are planned once: anew for every session takes twice as long.
_KEEP_PLANS: Final = "SET LOCAL plan_cache_mode = auto"
_resilience = layer_resilience(LayerType.RETENTION_DB_SOURCE, deadline=BULK_DEADLINE)
# A purge that failed in the middle is gone on with by whoever asked for it.
_unretried = layer_resilience(LayerType.RETENTION_DB_SOURCE, deadline=BULK_DEADLINE, retries=False)


class RetentionDBSource:
    """Purges finished sessions, agents' history and operations when they are old."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_unretried.apply(OperationKind.WRITE)
    async def purge(
        self,
        older_than: timedelta,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_batch: Optional[OnBatch] = None,
        archive: Optional[Archive] = None,
    ) -> PurgeResult:
        """Delete what ended longer ago than ``older_than`` by the database's clock, batch by batch.

        That is: sessions that are TERMINATED, CANCELLED or ERROR, with all that belongs to them; changes of
        agents' statuses; operations, whose ids are not recognised from then on. Kept are sessions on which an
        unfinished session depends, the newest change of each agent, and the history of a session that is not
        finished, however old: it goes with its session. What others hold locked is skipped, never waited for.
        A session that comes to depend on one while that is being deleted finds it gone. After each batch it
        rests for as long as the batch took.

        ``archive`` is awaited before each batch of sessions is committed, within the engine's
        idle_in_transaction_timeout (10 s); what it raises undoes the batch and is passed on. None is deleted
        that it was not given; it may be given one again after a crash or an error between it and the COMMIT,
        or if the session was kept at the last moment.

        Every batch sees up to ``batch_size`` sessions or rows, in a transaction of its own; an error or a
        cancel leaves the batches before it purged. Raises InvalidInput for an ``older_than`` below an hour or
        twice the engine's resolve_timeout, and for a batch size outside 1 to 10,000; the errors of the database
        layer. Costs four statements per batch, nine with an archive; time grows with what is purged and kept.
        """
        check_retention(older_than, self._engine.resolve_timeout)
        check_range(batch_size, BatchSize, "batch_size")
        cutoff = await self._cutoff(older_than)
        done = PurgeResult()
        started = monotonic()
        for batches in (
            self._session_batches(cutoff, batch_size, archive),
            self._agent_history_batches(cutoff, batch_size),
            self._operation_batches(cutoff, batch_size),
        ):
            try:
                async for batch in batches:
                    done += batch
                    if on_batch is not None:
                        on_batch(done)
                    # Nobody is in a hurry for it: schedulers have the server to themselves half of the time.
                    await asyncio.sleep(monotonic() - started)
                    started = monotonic()
            except _ArchiveFailed as failed:
                raise failed.error from None
            except OutcomeUnknown as lost:
                raise OutcomeUnknown(
                    "the connection was lost at the COMMIT of a batch, which was purged wholly or not at all; "
                    "purge again, and what is left goes then"
                ) from lost
        return done

    @_resilience.apply(OperationKind.READ)
    async def count_purgeable(self, older_than: timedelta) -> PurgeResult:
        """Count what ``purge`` would delete now, and the sessions that it would keep; deletes nothing.

        Raises InvalidInput as ``purge`` does. Costs two statements; time grows with what is that old.
        """
        check_retention(older_than, self._engine.resolve_timeout)
        async with self._engine.begin_readonly_session() as db_sess:
            ((cutoff,),) = await fetch_rows(db_sess, PURGE_CUTOFF, older_than)
            (counts,) = await fetch_rows(db_sess, PURGE_COUNT, cutoff)
        return PurgeResult(**counts)

    async def _cutoff(self, older_than: timedelta) -> datetime:
        """Read it once, so that the purge has an end."""
        async with self._engine.begin_readonly_session() as db_sess:
            ((cutoff,),) = await fetch_rows(db_sess, PURGE_CUTOFF, older_than)
        found: datetime = cutoff
        return found

    async def _session_batches(
        self, cutoff: datetime, batch_size: int, archive: Optional[Archive]
    ) -> AsyncIterator[PurgeResult]:
        after: tuple[Optional[datetime], Optional[SessionId]] = (None, None)
        while True:
            async with announce_changes(self._engine) as changed, self._engine.begin_session() as db_sess:
                seen = await fetch_rows(db_sess, PURGE_CANDIDATES, cutoff, *after, batch_size)
                locked = [row["session_id"] for row in seen if row["is_locked"]]
                sessions, kernels = await _purge_locked(db_sess, locked, archive)
                changed.update(locked)
            yield PurgeResult(
                sessions=sessions,
                kernels=kernels,
                kept_sessions=len(locked) - sessions,
                skipped_sessions=len(seen) - len(locked),
                batches=1,
            )
            if len(seen) < batch_size:
                return
            after = (seen[-1]["status_changed_at"], seen[-1]["session_id"])

    async def _agent_history_batches(self, cutoff: datetime, batch_size: int) -> AsyncIterator[PurgeResult]:
        after: tuple[Optional[datetime], Optional[int]] = (None, None)
        while True:
            async with self._engine.begin_session() as db_sess:
                rows = []
                ((is_ours,),) = await fetch_rows(db_sess, PURGE_AGENT_HISTORY_TURN)
                if is_ours:
                    rows = await fetch_rows(db_sess, PURGE_AGENT_HISTORY, cutoff, *after, batch_size)
            yield PurgeResult(agent_history=rows[0]["purged"] if rows else 0, batches=1)
            if not rows or rows[0]["seen"] < batch_size:
                return
            after = (rows[0]["changed_at"], rows[0]["id"])

    async def _operation_batches(self, cutoff: datetime, batch_size: int) -> AsyncIterator[PurgeResult]:
        after: Optional[datetime] = None
        while True:
            async with self._engine.begin_session() as db_sess:
                ((purged, after),) = await fetch_rows(db_sess, PURGE_OPERATIONS, cutoff, after, batch_size)
            yield PurgeResult(operations=purged, batches=1)
            if purged < batch_size:
                return


class _ArchiveFailed(Exception):
    """Carries an OSError of the caller's past the database layer, which would take it for its own."""

    def __init__(self, error: OSError) -> None:
        super().__init__(str(error))
        self.error = error


async def _purge_locked(
    db_sess: SASession, locked: Sequence[SessionId], archive: Optional[Archive]
) -> tuple[int, int]:
    """Archive and delete the locked sessions that nobody needs; returns how many sessions and kernels went."""
    chosen = await _unneeded(db_sess, locked)
    if chosen and archive is not None:
        archived = await _fetch_archived(db_sess, chosen)
        try:
            await archive(archived)
        except OSError as error:
            raise _ArchiveFailed(error) from error
        # It may have taken its time, and dependants may have come meanwhile.
        chosen = await _unneeded(db_sess, chosen)
    if not chosen:
        return 0, 0
    await driver_connection(db_sess).execute(_KEEP_PLANS)
    ((sessions, kernels),) = await fetch_rows(db_sess, PURGE_SESSIONS, chosen)
    return sessions, kernels


async def _unneeded(db_sess: SASession, session_ids: Sequence[SessionId]) -> list[SessionId]:
    """Leave out the sessions on which an unfinished session depends."""
    if not session_ids:
        return []
    needed = {row["session_id"] for row in await fetch_rows(db_sess, PURGE_NEEDED_SESSIONS, session_ids)}
    return [session_id for session_id in session_ids if session_id not in needed]


async def _fetch_archived(db_sess: SASession, session_ids: Sequence[SessionId]) -> tuple[ArchivedSession, ...]:
    """Read sessions with all that is deleted with them; costs four statements."""
    rows = await fetch_rows(db_sess, PURGE_ARCHIVED_SESSIONS, session_ids)
    kernels = await _by_session(db_sess, PURGE_ARCHIVED_KERNELS, session_ids)
    history = await _by_session(db_sess, PURGE_ARCHIVED_HISTORY, session_ids)
    mounts = await _by_session(db_sess, PURGE_ARCHIVED_MOUNTS, session_ids)
    return tuple(
        msgspec.convert(
            {
                **row,
                "kernels": kernels[row["session_id"]],
                "history": history[row["session_id"]],
                "mounts": mounts[row["session_id"]],
            },
            ArchivedSession,
        )
        for row in rows
    )


async def _by_session(
    db_sess: SASession, statement: Statement, session_ids: Sequence[SessionId]
) -> dict[UUID, list[dict[str, object]]]:
    found: dict[UUID, list[dict[str, object]]] = defaultdict(list)
    for row in await fetch_rows(db_sess, statement, session_ids):
        found[row["session_id"]].append(dict(row))
    return found
