"""SchedulingData in Redis or Valkey: for readers that allow some staleness, and for processes that start."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Optional

from scheduler_repo.cache.bounded_staleness import Demand
from scheduler_repo.cache.client import create_redis as create_redis
from scheduler_repo.cache.large_values import LargeValueCache
from scheduler_repo.cache.metrics import CacheName
from scheduler_repo.cache.metrics import CacheOutcome as CacheOutcome
from scheduler_repo.cache.read_through import CachedKind, Codec, ReadValue
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.database.identity import record_origin
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.entities.snapshot_token import SnapshotToken, Writes, is_snapshot, transactions_of
from scheduler_repo.errors import InvalidSnapshot
from scheduler_repo.repositories.scheduler.catching_up import catch_up_stored
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.deltas.base import IndexedBase
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.scheduling.snapshot.packing import (
    SNAPSHOT_FORMAT,
    compress_encoding,
    decompress_encoding,
)
from scheduler_repo.settings import CacheSettings
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import check_staleness

# Files are packed once and kept; this leaves a tenth more and takes a third of the time.
_LEVEL: Final = 1
# As many take half a millisecond to compress; more are left to a thread.
_FEW_BYTES: Final = 20_000


def create_cache_source(settings: CacheSettings, db_source: SchedulerDBSource) -> "SchedulerCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SchedulerCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


_resilience = layer_resilience(LayerType.SCHEDULE_CACHE_SOURCE, retries=False)


class _SchedulingDataCodec(Codec[TimedSchedulingData]):
    """Packs the encoding that files have too, in slices and in threads: megabytes would stop the event loop."""

    def __init__(self, relaxed: Callable[[], AbstractContextManager[None]]) -> None:
        """``relaxed`` keeps the collector from looking at all that is decoded, over and over."""
        self.format_version = SNAPSHOT_FORMAT.decode()
        self._relaxed = relaxed

    async def encode(self, value: TimedSchedulingData) -> bytes:
        encoded = await finish_in_slices(encode_scheduling_data(value.data))
        if len(encoded) <= _FEW_BYTES:
            return compress_encoding(encoded, _LEVEL)
        return await asyncio.to_thread(compress_encoding, encoded, _LEVEL)

    async def decode(self, encoded: memoryview) -> TimedSchedulingData:
        try:
            if len(encoded) <= _FEW_BYTES:
                plain = decompress_encoding(encoded)
            else:
                plain = await asyncio.to_thread(decompress_encoding, encoded)
        except InvalidSnapshot as error:
            raise ValueError(str(error)) from error
        with self._relaxed():
            data = await finish_in_slices(decode_scheduling_data(plain))
        # The database is asked by it.
        if not is_snapshot(data.token.snapshot):
            raise ValueError("its snapshot is none")
        return TimedSchedulingData(data, 0.0, 0.0)


class SchedulerCacheSource(CacheSource[SchedulerDBSource]):
    """Keeps each group's state in Redis now and then: an answer while it is young enough, and a base.

    A base with the changes since is the state of now: a process that starts reads little more than these
    (``SnapshotTracker``), and so does who finds an answer too old.
    """

    source_type = SchedulerDBSource

    def _open_caches(self, lifetime: float) -> None:
        kind = CachedKind(
            CacheName.SCHEDULING_DATA,
            _SchedulingDataCodec(self.db_source.collector_relaxed),
            _get_id,
            self.database,
            lambda timed, after: timed.data.has_seen(after),
            lambda timed: timed.data.token,
        )
        self.lifetime = lifetime
        self._cache = LargeValueCache(self.client, kind, lifetime=lifetime)

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
        staleness is allowed, one more for each megabyte that has changed there, else none. Where no entry is
        young enough the database is asked for what has changed since, or for everything, and the answer is
        stored in the background.
        """
        check_staleness(max_staleness)

        async def read(old: Optional[TimedSchedulingData]) -> TimedSchedulingData:
            found = None if old is None else await catch_up_stored(self.db_source, IndexedBase(old.data))
            if not isinstance(found, Refresh):
                if old is not None:
                    self.distrust_base(old.data)
                return await self.db_source.get_scheduling_data(scaling_group)
            record_origin(found.data.token.database)
            return TimedSchedulingData(found.data, found.read_seconds, found.transform_seconds)

        return await self._cache.get(scaling_group, Demand(max_staleness, transactions_of(after)), read)

    @_resilience.apply(OperationKind.READ)
    async def find_base(self, scaling_group: ScalingGroupName) -> Optional[SchedulingData]:
        """Return what is stored of a group, whatever its age; None if nothing is that can be believed.

        It was true once, and is of this database; whether what has changed since can be told is not known yet.
        Raises the errors of the database layer if it is not known which database this is. Costs one round trip
        for each megabyte, and 5 µs a pending session.
        """
        timed = await self._cache.find(scaling_group)
        return None if timed is None else timed.data

    @_resilience.apply(OperationKind.READ)
    async def find_base_token(self, scaling_group: ScalingGroupName) -> Optional[SnapshotToken]:
        """Return the token of what is stored of a group, as far as its header says; None for none.

        None, too, for what has passed half its lifetime. Raises CacheUnavailable. Costs one round trip.
        """
        return await self._cache.peek(scaling_group)

    def distrust_base(self, base: SchedulingData) -> None:
        """Have the next base stored in place of one that could not be brought up to date, however new it is."""
        self._cache.distrust(base.scaling_group.name, base.token)

    def store_base(self, data: SchedulingData, asked_at: float) -> None:
        """Store a group's whole state, read at ``asked_at`` of the monotonic clock or later, in the background.

        Not if another process is just at it, nor in place of a newer one of the same history. Costs some 10 µs
        a pending session, most of it in threads, and a round trip for each megabyte.
        """
        found = ReadValue(TimedSchedulingData(data, 0.0, 0.0), data.token.database, asked_at)
        self._cache.store(data.scaling_group.name, found)

    async def drain(self) -> None:
        await self._cache.drain()
        await self.database.drain()


def _get_id(timed: TimedSchedulingData) -> Optional[ScalingGroupName]:
    """Return the group that an answer is of; None for a part of its queue, which is never cached."""
    data = timed.data
    return data.scaling_group.name if data.pending_limit is None else None
