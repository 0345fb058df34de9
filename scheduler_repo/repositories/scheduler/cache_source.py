"""SchedulingData in Redis or Valkey, for readers that allow some staleness."""

from collections import Counter
from typing import Optional

from scheduler_repo.cache.bounded_staleness import BoundedStalenessCache, Demand
from scheduler_repo.cache.client import create_redis as create_redis
from scheduler_repo.cache.metrics import CacheName
from scheduler_repo.cache.metrics import CacheOutcome as CacheOutcome
from scheduler_repo.cache.read_through import CachedKind, Codec
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.entities.encoding import compute_format_version
from scheduler_repo.entities.snapshot_token import Writes, transactions_of
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.encoding import Envelope, decode_scheduling_data, encode_scheduling_data
from scheduler_repo.settings import CacheSettings
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import check_staleness


def create_cache_source(settings: CacheSettings, db_source: SchedulerDBSource) -> "SchedulerCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SchedulerCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


_resilience = layer_resilience(LayerType.SCHEDULE_CACHE_SOURCE, retries=False)


class _SchedulingDataCodec(Codec[TimedSchedulingData]):
    """Encodes and decodes in slices: megabytes at once would stop the event loop."""

    def __init__(self) -> None:
        self.format_version = compute_format_version(Envelope)

    async def encode(self, value: TimedSchedulingData) -> bytes:
        return await finish_in_slices(encode_scheduling_data(value.data))

    async def decode(self, encoded: memoryview) -> TimedSchedulingData:
        return TimedSchedulingData(await finish_in_slices(decode_scheduling_data(encoded)), 0.0, 0.0)


class SchedulerCacheSource(CacheSource[SchedulerDBSource]):
    """Answers from Redis while an entry is young enough, else from the database, and keeps entries fresh."""

    source_type = SchedulerDBSource

    def _open_caches(self, lifetime: float) -> None:
        kind = CachedKind(
            CacheName.SCHEDULING_DATA,
            _SchedulingDataCodec(),
            _get_id,
            self.database,
            lambda timed, after: timed.data.has_seen(after),
        )
        self._cache = BoundedStalenessCache(self.client, kind, lifetime=lifetime)

    @property
    def outcomes(self) -> Counter[CacheOutcome]:
        """How the look-ups so far have ended."""
        return self._cache.counts.lookups

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self, scaling_group: ScalingGroupName, max_staleness: float = 0, after: Writes = None
    ) -> TimedSchedulingData:
        """Return the group's state, at most ``max_staleness`` seconds old; 0 always asks the database.

        An entry that has not seen the writes ``after``, where such are given, is too old. Callers that allow
        staleness share look-ups and reads that began late enough for them. Raises InvalidInput for a negative
        or unordered ``max_staleness`` and what the database source raises. Costs one round trip to Redis if
        staleness is allowed, else none; the database's answer is stored in the background.
        """
        check_staleness(max_staleness)
        return await self._cache.get(
            scaling_group,
            Demand(max_staleness, transactions_of(after)),
            lambda: self.db_source.get_scheduling_data(scaling_group),
        )

    async def drain(self) -> None:
        await self._cache.drain()
        await self.database.drain()


def _get_id(timed: TimedSchedulingData) -> Optional[ScalingGroupName]:
    """Return the group that an answer is of; None for a part of its queue, which is never cached."""
    data = timed.data
    return data.scaling_group.name if data.pending_limit is None else None
