"""SchedulingData in Redis or Valkey, for readers that allow some staleness."""

import asyncio
import enum
import logging
import math
from collections import Counter
from time import monotonic
from typing import Optional

import redis.asyncio as redis_asyncio
import redis.exceptions

from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.resilience.layers import LayerType, repository_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.data import SchedulingData
from scheduler_repo.scheduling.encoding import (
    UNREADABLE,
    Decoded,
    decode_scheduling_data,
    encode_scheduling_data,
)
from scheduler_repo.scheduling.transforms import finish_in_slices
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import ScalingGroupName, TransactionId

_logger = logging.getLogger(__name__)
_KEY_PREFIX = "scheduler_repo:scheduling_data:"
_MAX_CONNECTIONS = 16
_UNREACHABLE = (redis.exceptions.RedisError, OSError, TimeoutError)


class CacheOutcome(enum.StrEnum):
    """What came of one look-up; all but HIT are answered by the database."""

    HIT = "hit"
    ABSENT = "absent"
    TOO_OLD = "too_old"
    UNREADABLE = "unreadable"
    OTHER_FORMAT = "other_format"
    OTHER_DATABASE = "other_database"
    OTHER_GROUP = "other_group"
    UNREACHABLE = "unreachable"


def create_redis(settings: CacheSettings) -> "redis_asyncio.Redis":
    """Make a client that never retries by itself; connects to nothing yet."""
    pool = redis_asyncio.BlockingConnectionPool.from_url(
        settings.url.reveal(),
        # A burst of readers shares these; connecting for each of them would take longer than they wait.
        max_connections=_MAX_CONNECTIONS,
        timeout=settings.timeout,
        socket_timeout=settings.timeout,
        socket_connect_timeout=settings.timeout,
        retry=None,
        decode_responses=False,
    )
    client: redis_asyncio.Redis = redis_asyncio.Redis.from_pool(pool)
    return client


def create_cache_source(settings: CacheSettings, db_source: SchedulerDBSource) -> "SchedulerCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SchedulerCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


def check_staleness(max_staleness: float) -> None:
    """Refuse what is no number of seconds, 0 or more; raises InvalidInput."""
    if not max_staleness >= 0 or math.isinf(max_staleness):
        raise InvalidInput(f"max_staleness {max_staleness} is no number of seconds; give 0 or more")


_resilience = repository_resilience(LayerType.SCHEDULE_CACHE_SOURCE)


class SchedulerCacheSource:
    """Answers from Redis while an entry is young enough, else from the database, and keeps entries fresh.

    Age is measured on one clock at a time: what the read took on the writer's, what the look-up takes on the
    reader's, and the time between by the key's end, on the server's; so it is never under-estimated. An entry
    is believed only if its format, group and database are ours.
    """

    def __init__(
        self,
        redis: "redis_asyncio.Redis",
        db_source: SchedulerDBSource,
        *,
        timeout: float = 0.15,
        lifetime: float = 60.0,
    ) -> None:
        """Take a client; ``timeout`` bounds each look-up, ``lifetime`` each entry (both in seconds)."""
        self._redis = redis
        self._db_source = db_source
        self._timeout = timeout
        self._lifetime_ms = round(lifetime * 1000)
        self._waiting: dict[ScalingGroupName, tuple[SchedulingData, float]] = {}
        self._storing: dict[ScalingGroupName, asyncio.Task[None]] = {}
        self.outcomes: Counter[CacheOutcome] = Counter()

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        after: Optional[TransactionId] = None,
    ) -> TimedSchedulingData:
        """Return the group's state, at most ``max_staleness`` seconds old; 0 always asks the database.

        An entry that has not seen the write ``after``, where one is given, is too old.

        The database's answer is stored in the background, so a slow Redis costs the caller nothing then.
        Raises InvalidInput for a negative or unordered ``max_staleness`` and what the database source raises.
        Costs one round trip to Redis if staleness is allowed, else none.
        """
        check_staleness(max_staleness)
        if max_staleness > 0:
            outcome, data = await self._look_up(scaling_group, max_staleness)
            if data is not None and after is not None and not data.has_seen(after):
                outcome, data = CacheOutcome.TOO_OLD, None
            self.outcomes[outcome] += 1
            if data is not None:
                return TimedSchedulingData(data, 0.0, 0.0)
        started = monotonic()
        timed = await self._db_source.get_scheduling_data(scaling_group)
        self._store_soon(scaling_group, timed.data, started)
        return timed

    async def drain(self) -> None:
        """Wait until everything that is being stored has been, or has failed."""
        while self._storing:
            await asyncio.wait(list(self._storing.values()))

    async def aclose(self) -> None:
        """Finish what is being stored and close the client; do so before the event loop ends."""
        await self.drain()
        await self._redis.aclose()

    async def _look_up(
        self, scaling_group: ScalingGroupName, max_staleness: float
    ) -> tuple[CacheOutcome, Optional[SchedulingData]]:
        asked = monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                pipeline = self._redis.pipeline(transaction=True)
                pipeline.get(_key(scaling_group))
                pipeline.pttl(_key(scaling_group))
                encoded, remaining_ms = await pipeline.execute(raise_on_error=False)
        except _UNREACHABLE as error:
            _logger.warning("cache look-up failed, asking the database: %s", type(error).__name__)
            return CacheOutcome.UNREACHABLE, None
        if encoded is None:
            return CacheOutcome.ABSENT, None
        if not isinstance(encoded, bytes):  # the server's error: the key holds another type of value
            return CacheOutcome.UNREADABLE, None
        try:
            decoded = await finish_in_slices(decode_scheduling_data(encoded))
        except UNREADABLE:
            return CacheOutcome.UNREADABLE, None
        if decoded is None:
            return CacheOutcome.OTHER_FORMAT, None
        outcome = await self._judge(scaling_group, decoded)
        age_ms = decoded.lifetime_ms - remaining_ms
        age_now_ms = age_ms + _milliseconds_since(asked)
        # No remaining lifetime, or more than it ever had: its age is not known.
        if outcome is CacheOutcome.HIT and (
            remaining_ms < 0 or age_ms < 0 or age_now_ms > max_staleness * 1000
        ):
            outcome = CacheOutcome.TOO_OLD
        return outcome, decoded.data if outcome is CacheOutcome.HIT else None

    async def _judge(self, scaling_group: ScalingGroupName, decoded: Decoded) -> CacheOutcome:
        if decoded.data.scaling_group.name != scaling_group or decoded.data.pending_limit is not None:
            return CacheOutcome.OTHER_GROUP
        if decoded.data.database != await self._db_source.get_database_identity():
            return CacheOutcome.OTHER_DATABASE
        return CacheOutcome.HIT

    def _store_soon(self, scaling_group: ScalingGroupName, data: SchedulingData, read_started: float) -> None:
        """Store the newest answer of a group, one at a time; an older one still waiting is dropped."""
        self._waiting[scaling_group] = (data, read_started)
        if scaling_group not in self._storing:
            task = asyncio.create_task(self._store_waiting(scaling_group))
            self._storing[scaling_group] = task

    async def _store_waiting(self, scaling_group: ScalingGroupName) -> None:
        try:
            while scaling_group in self._waiting:
                data, read_started = self._waiting.pop(scaling_group)
                encoded = await finish_in_slices(encode_scheduling_data(data, self._lifetime_ms))
                try:
                    async with asyncio.timeout(self._timeout):
                        await self._store(scaling_group, encoded, read_started)
                except _UNREACHABLE as error:
                    _logger.warning("storing in the cache failed: %s", type(error).__name__)
        finally:
            del self._storing[scaling_group]

    async def _store(self, scaling_group: ScalingGroupName, encoded: bytes, read_started: float) -> None:
        # An end on the server's clock, not a lifetime: a server that hangs may run the SET much later.
        seconds, microseconds = await self._redis.time()
        age_ms = _milliseconds_since(read_started)
        if age_ms < self._lifetime_ms:
            ends_ms = seconds * 1000 + microseconds // 1000 + self._lifetime_ms - age_ms
            await self._redis.set(_key(scaling_group), encoded, pxat=ends_ms)


def _milliseconds_since(start: float) -> int:
    return math.ceil((monotonic() - start) * 1000)


def _key(scaling_group: ScalingGroupName) -> str:
    return f"{_KEY_PREFIX}{scaling_group}"
