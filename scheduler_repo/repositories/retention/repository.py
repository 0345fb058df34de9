"""Retention: finished sessions, agents' history and operations are purged when they are old."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import Final, Optional

from asyncpg import Record

from scheduler_repo.database.change_listeners import announce_changes
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.row_locks import run_in_two_tries
from scheduler_repo.entities.retention import ArchivedSession, PurgeResult
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.resilience.layers import BULK_DEADLINE, LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import SessionId
from scheduler_repo.validation import BatchSize, check_range, check_retention

DEFAULT_BATCH_SIZE: Final = 500

# Gets the sessions of a batch before it is committed; an error of it undoes the batch.
Archive = Callable[[Sequence[ArchivedSession]], Awaitable[None]]
# Is called after each commit with how much has gone so far.
OnBatch = Callable[[PurgeResult], None]

_resilience = layer_resilience(LayerType.RETENTION_REPOSITORY, deadline=BULK_DEADLINE)
# A purge that failed half-way is not begun anew: its caller decides.
_unretried = layer_resilience(LayerType.RETENTION_REPOSITORY, deadline=BULK_DEADLINE, retries=False)


class RetentionRepository(Repository[RetentionDBSource]):
    """Purges finished sessions, agents' history and operations when they are old."""

    source_type = RetentionDBSource

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
        idle_in_transaction_timeout (10 s); an error of it undoes the batch and is passed on. No session is
        deleted without having been given to it; it may be given one again after a crash or an error between it
        and the COMMIT, or if the session was kept at the last moment. ``on_batch`` is called after each commit
        with how much has gone.

        Every batch sees up to ``batch_size`` sessions or rows, in a transaction of its own; an error or a
        cancel leaves the batches before it purged. Raises InvalidInput for an ``older_than`` below an hour or
        twice the engine's resolve_timeout (a write that is asked for again must be recognised), and for a batch
        size outside 1 to 10,000; the errors of the database layer. Costs two statements per batch, eight with
        an archive; time grows with what is purged and kept.
        """
        check_retention(older_than, self._db.resolve_timeout)
        check_range(batch_size, BatchSize, "batch_size")
        # Read once, so that the purge has an end.
        cutoff = await self._read(self._db_source.get_cutoff, older_than)
        done = PurgeResult()
        started = monotonic()
        for batches in (
            self._purge_sessions(cutoff, batch_size, archive),
            self._purge_agent_history(cutoff, batch_size),
            self._purge_operations(cutoff, batch_size),
        ):
            try:
                async for batch in batches:
                    done += batch
                    if on_batch is not None:
                        on_batch(done)
                    # Nobody is in a hurry for it: schedulers have the server to themselves half of the time.
                    await asyncio.sleep(monotonic() - started)
                    started = monotonic()
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
        check_retention(older_than, self._db.resolve_timeout)
        async with self._db.begin_readonly_session() as db_sess:
            cutoff = await self._db_source.get_cutoff(db_sess, older_than)
            return await self._db_source.count_purgeable(db_sess, cutoff)

    async def _purge_sessions(
        self, cutoff: datetime, batch_size: int, archive: Optional[Archive]
    ) -> AsyncIterator[PurgeResult]:
        after: tuple[Optional[datetime], Optional[SessionId]] = (None, None)

        async def purge_next(skips_locked: bool) -> tuple[PurgeResult, list[Record]]:
            begin = self._db.begin_batch_session
            async with announce_changes(self._db) as changed, begin(skips_locked=skips_locked) as db_sess:
                seen, locked = await self._db_source.lock_sessions(db_sess, cutoff, after, batch_size)
                sessions, kernels = await self._archive_and_delete(db_sess, locked, cutoff, archive)
                changed.update(locked)
            done = PurgeResult(
                sessions=sessions,
                kernels=kernels,
                kept_sessions=len(locked) - sessions,
                skipped_sessions=len(seen) - len(locked),
                batches=1,
            )
            return done, seen

        while True:
            # What is archived must go: there is no first try of which the archive would keep the lines.
            is_archived = archive is not None
            purge = purge_next(True) if is_archived else run_in_two_tries(self._db, purge_next)
            done, seen = await purge
            yield done
            if len(seen) < batch_size:
                return
            after = (seen[-1]["status_changed_at"], seen[-1]["session_id"])

    async def _archive_and_delete(
        self, db_sess: SASession, locked: Sequence[SessionId], cutoff: datetime, archive: Optional[Archive]
    ) -> tuple[int, int]:
        chosen = locked
        if archive is not None:
            chosen = await self._db_source.list_unneeded(db_sess, locked)
            if chosen:
                archived = await self._db_source.list_archived(db_sess, chosen)
                # What cannot be read is neither archived nor purged.
                chosen = [session.session_id for session in archived]
                if archived:
                    await archive(archived)
        # It looks again at who needs them: the archive may have taken its time.
        return await self._db_source.delete_sessions(db_sess, chosen, cutoff) if chosen else (0, 0)

    async def _purge_agent_history(self, cutoff: datetime, batch_size: int) -> AsyncIterator[PurgeResult]:
        after: tuple[Optional[datetime], Optional[int]] = (None, None)
        while True:
            async with self._db.begin_session() as db_sess:
                row = await self._db_source.delete_agent_history(db_sess, cutoff, after, batch_size)
            yield PurgeResult(agent_history=row["purged"], batches=1)
            if row["seen"] < batch_size:
                return
            after = (row["changed_at"], row["id"])

    async def _purge_operations(self, cutoff: datetime, batch_size: int) -> AsyncIterator[PurgeResult]:
        after: Optional[datetime] = None
        while True:
            async with self._db.begin_session() as db_sess:
                purged, after = await self._db_source.delete_operations(db_sess, cutoff, after, batch_size)
            yield PurgeResult(operations=purged, batches=1)
            if purged < batch_size:
                return
