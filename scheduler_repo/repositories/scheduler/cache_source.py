"""SchedulingData in Redis or Valkey, for readers that allow some staleness."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Final, Optional, ParamSpec, TypeVar, Union

from scheduler_repo.cache.bounded_staleness import Aged, NewestStore, milliseconds_since
from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient, outcome_of
from scheduler_repo.cache.client import create_redis as create_redis
from scheduler_repo.cache.entry import DatabaseKey, Header, framed, judged, opened
from scheduler_repo.cache.metrics import CacheCounts, CacheName
from scheduler_repo.cache.metrics import CacheOutcome as CacheOutcome
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.entities.scheduling_data import DatabaseIdentity, SchedulingData
from scheduler_repo.errors import CacheUnavailable
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import finish_in_slices
from scheduler_repo.scheduling.snapshot.encoding import (
    FORMAT_VERSION,
    UNREADABLE,
    Decoded,
    decode_scheduling_data,
    encode_scheduling_data,
)
from scheduler_repo.settings import CacheSettings
from scheduler_repo.types import ScalingGroupName, TransactionId
from scheduler_repo.validation import check_staleness

if TYPE_CHECKING:
    from redis.asyncio import Redis

_logger = logging.getLogger(__name__)
_KEY_PREFIX: Final = "scheduler_repo:scheduling_data:"
# A digest of more bytes takes longer than handing it to a thread.
_LARGE_BYTES: Final = 500_000

P = ParamSpec("P")
R = TypeVar("R")


def create_cache_source(settings: CacheSettings, db_source: SchedulerDBSource) -> "SchedulerCacheSource":
    """Make a cache source with a client of its own, as the settings say; connects to nothing yet."""
    return SchedulerCacheSource(
        create_redis(settings), db_source, timeout=settings.timeout, lifetime=settings.lifetime
    )


_resilience = layer_resilience(LayerType.SCHEDULE_CACHE_SOURCE, retries=False)


class SchedulerCacheSource:
    """Answers from Redis while an entry is young enough, else from the database, and keeps entries fresh.

    Age is measured on one clock at a time: what the read took on the writer's, what the look-up takes on the
    reader's, and the time between by the key's end, on the server's; so it is never under-estimated. An entry
    is believed only if it is whole, and its format, group and database are ours.
    """

    def __init__(
        self,
        redis: Union["Redis", ValkeyClient],
        db_source: SchedulerDBSource,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        lifetime: float = 60.0,
    ) -> None:
        """Take a client, or one that is shared with other cache sources, and then closed by its maker.

        ``timeout`` bounds each command, unless the client is shared, ``lifetime`` each entry (both in seconds).
        """
        self._is_shared = isinstance(redis, ValkeyClient)
        self.client = redis if isinstance(redis, ValkeyClient) else ValkeyClient(redis, timeout=timeout)
        self._db_source = db_source
        self._lifetime_ms = round(lifetime * 1000)
        self._counts = CacheCounts(CacheName.SCHEDULING_DATA)
        self._store = NewestStore(
            self.client,
            self._counts,
            self._encode,
            lifetime,
            on_failure=lambda error: _logger.warning("storing in the cache failed: %s", error),
        )
        # Equal questions share a look-up, and all that miss share a read.
        self._questions: SingleFlight[Aged[TimedSchedulingData]] = SingleFlight()
        self._reads: SingleFlight[Aged[TimedSchedulingData]] = SingleFlight()

    @property
    def outcomes(self) -> Counter[CacheOutcome]:
        """What came of the look-ups so far."""
        return self._counts.lookups

    @_resilience.apply(OperationKind.READ)
    async def get_scheduling_data(
        self,
        scaling_group: ScalingGroupName,
        max_staleness: float = 0,
        after: Optional[TransactionId] = None,
    ) -> TimedSchedulingData:
        """Return the group's state, at most ``max_staleness`` seconds old; 0 always asks the database.

        An entry that has not seen the write ``after``, where one is given, is too old. Callers that allow
        staleness share look-ups and reads that began late enough for them.

        The database's answer is stored in the background, so a slow Redis costs the caller nothing then.
        Raises InvalidInput for a negative or unordered ``max_staleness`` and what the database source raises.
        Costs one round trip to Redis if staleness is allowed, else none.
        """
        check_staleness(max_staleness)
        if max_staleness > 0:
            asked = monotonic()
            shared = await self._questions.run(
                (scaling_group, max_staleness, after),
                lambda: self._look_up_or_read(scaling_group, max_staleness, after),
            )
            if shared.suits(asked, max_staleness) and _has_seen(shared.value.data, after):
                return shared.value
        return (await self._read(scaling_group)).value

    async def drain(self) -> None:
        """Wait until everything that is being read for several, or stored, has been, or has failed."""
        await self._questions.drain()
        await self._reads.drain()
        await self._store.drain()

    async def aclose(self) -> None:
        """Finish what is under way, and close a client that is not shared; do so before the event loop ends."""
        await self.drain()
        if not self._is_shared:
            await self.client.aclose()

    async def _look_up_or_read(
        self, scaling_group: ScalingGroupName, max_staleness: float, after: Optional[TransactionId]
    ) -> Aged[TimedSchedulingData]:
        asked = monotonic()
        outcome, found = await self._look_up(scaling_group, max_staleness)
        if found is not None and not _has_seen(found.value.data, after):
            outcome, found = CacheOutcome.TOO_OLD, None
        self._counts.looked_up(outcome)
        if found is not None:
            return found
        shared = await self._reads.run(scaling_group, lambda: self._read(scaling_group))
        if shared.suits(asked, max_staleness) and _has_seen(shared.value.data, after):
            return shared
        return await self._read(scaling_group)

    async def _read(self, scaling_group: ScalingGroupName) -> Aged[TimedSchedulingData]:
        as_of = monotonic()
        timed = await self._db_source.get_scheduling_data(scaling_group)
        self._store.put(_key(scaling_group), timed.data, as_of)
        return Aged(timed, as_of)

    async def _look_up(
        self, scaling_group: ScalingGroupName, max_staleness: float
    ) -> tuple[CacheOutcome, Optional[Aged[TimedSchedulingData]]]:
        key, asked = _key(scaling_group), monotonic()
        try:
            entry, remaining_ms = await self.client.get_with_lifetime(key)
        except CacheUnavailable as error:
            outcome = outcome_of(error)
            if outcome not in (CacheOutcome.BREAKER_OPEN, CacheOutcome.BUSY):
                _logger.warning("cache look-up failed, asking the database: %s", error)
            return outcome, None
        if entry is None:
            return CacheOutcome.ABSENT, None
        decoded = await self._decoded(key, entry)
        if isinstance(decoded, CacheOutcome):
            return decoded, None
        outcome = await self._judge(scaling_group, decoded)
        age_ms = decoded.lifetime_ms - remaining_ms
        age_now_ms = age_ms + milliseconds_since(asked)
        # No remaining lifetime, or more than it ever had: its age is not known.
        if outcome is CacheOutcome.HIT and (
            remaining_ms < 0 or age_ms < 0 or age_now_ms > max_staleness * 1000
        ):
            outcome = CacheOutcome.TOO_OLD
        if outcome is not CacheOutcome.HIT:
            return outcome, None
        return outcome, Aged(TimedSchedulingData(decoded.data, 0.0, 0.0), asked - age_ms / 1000)

    async def _decoded(self, key: str, entry: bytes) -> Union[Decoded, CacheOutcome]:
        found = await _aside(len(entry), opened, entry)
        if isinstance(found, CacheOutcome):
            return found
        odd = judged(found.header, format_version=FORMAT_VERSION, cache=CacheName.SCHEDULING_DATA, key=key)
        if odd is not None:
            return odd
        if found.header.database != _database_key(await self._db_source.get_database_identity()):
            return CacheOutcome.OTHER_DATABASE
        try:
            decoded = await finish_in_slices(decode_scheduling_data(found.value))
        except UNREADABLE:
            return CacheOutcome.UNREADABLE
        return CacheOutcome.OTHER_FORMAT if decoded is None else decoded

    async def _judge(self, scaling_group: ScalingGroupName, decoded: Decoded) -> CacheOutcome:
        if decoded.data.scaling_group.name != scaling_group or decoded.data.pending_limit is not None:
            return CacheOutcome.OTHER_KEY
        if decoded.data.database != await self._db_source.get_database_identity():
            return CacheOutcome.OTHER_DATABASE
        return CacheOutcome.HIT

    async def _encode(self, key: str, data: SchedulingData, taken_at_ms: int) -> bytes:
        encoded = await finish_in_slices(encode_scheduling_data(data, self._lifetime_ms))
        database = _database_key(data.database)
        header = Header(FORMAT_VERSION, CacheName.SCHEDULING_DATA, key, database, taken_at_ms)
        return await _aside(len(encoded), framed, header, encoded)


def _database_key(identity: DatabaseIdentity) -> DatabaseKey:
    return DatabaseKey(identity.system_identifier, identity.database_oid)


def _has_seen(data: SchedulingData, after: Optional[TransactionId]) -> bool:
    return after is None or data.has_seen(after)


async def _aside(size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Have a thread work on many bytes, beside the event loop."""
    if size < _LARGE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)


def _key(scaling_group: ScalingGroupName) -> str:
    return f"{_KEY_PREFIX}{scaling_group}"
