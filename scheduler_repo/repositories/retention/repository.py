"""The repository of what is kept for a time only."""

from datetime import timedelta
from typing import Optional

from scheduler_repo.entities.retention import PurgeResult
from scheduler_repo.repositories.retention.db_source import (
    DEFAULT_BATCH_SIZE,
    Archive,
    OnBatch,
    RetentionDBSource,
)
from scheduler_repo.resilience.layers import BULK_DEADLINE, LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind

_resilience = layer_resilience(LayerType.RETENTION_REPOSITORY, deadline=BULK_DEADLINE, retries=False)


class RetentionRepository:
    """Purges finished sessions, agents' history and operations when they are old."""

    def __init__(self, db_source: RetentionDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def purge(
        self,
        older_than: timedelta,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_batch: Optional[OnBatch] = None,
        archive: Optional[Archive] = None,
    ) -> PurgeResult:
        """Delete what ended longer ago than ``older_than`` by the database's clock, batch by batch.

        Kept are sessions on which an unfinished session depends, the newest change of each agent's status, and
        the history of a session that is not finished, however old. What others hold locked is skipped.
        ``archive`` is awaited with the sessions of a batch before it is committed: none is deleted that it was
        not given; after an error it may be given one again. ``on_batch`` is told after each commit how much has
        gone. An error or a cancel leaves the batches before it purged.

        Raises InvalidInput for an ``older_than`` below an hour or twice the engine's resolve_timeout (a write
        that is asked for again must be recognised), and for a batch size outside 1 to 10,000; what ``archive``
        raises; the errors of the database layer. Costs four statements per batch, nine with an archive; time
        grows with what is purged and kept.
        """
        return await self._db_source.purge(older_than, batch_size, on_batch, archive)

    @_resilience.apply(OperationKind.READ)
    async def count_purgeable(self, older_than: timedelta) -> PurgeResult:
        """Count what ``purge`` would delete now, and the sessions that it would keep; deletes nothing.

        Raises InvalidInput as ``purge`` does. Costs two statements; time grows with what is that old.
        """
        return await self._db_source.count_purgeable(older_than)
