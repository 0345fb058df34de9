"""Values that callers take from Redis while they are young enough for them."""

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, Generic, Optional, TypeVar

import msgspec

from scheduler_repo.cache.client import ValkeyClient, outcome_of
from scheduler_repo.cache.entry import DatabaseKey, Header, format_version_of, framed, judged, opened
from scheduler_repo.cache.metrics import CacheCounts, CacheName, CacheOutcome, StoreOutcome
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.errors import BreakerOpen, CacheUnavailable, SchedulerRepoError
from scheduler_repo.scheduling.snapshot.encoding import UNREADABLE
from scheduler_repo.validation import check_seconds

_KEY_PREFIX: Final = "scheduler_repo"
ValueT = TypeVar("ValueT")


class Aged(msgspec.Struct, Generic[ValueT], frozen=True):
    """A value, and since when at least it may be out of date, on this process's monotonic clock."""

    value: ValueT
    as_of: float

    def suits(self, asked: float, max_staleness: float) -> bool:
        """Whether it was true at most ``max_staleness`` seconds before it was asked for."""
        return self.as_of >= asked - max_staleness


class NewestStore(Generic[ValueT]):
    """Stores the newest answer of each key, one at a time; an older one still waiting is dropped."""

    def __init__(
        self,
        client: ValkeyClient,
        counts: CacheCounts,
        encode: Callable[[str, ValueT, int], Awaitable[bytes]],
        lifetime: float,
        on_failure: Optional[Callable[[Exception], None]] = None,
    ) -> None:
        """Take how an entry is made of key, value and the time (ms, server's clock) at which it was true.

        ``on_failure`` is told why an answer was not stored, but not of those that an open breaker keeps back.
        """
        self._client = client
        self._counts = counts
        self._encode = encode
        check_seconds("lifetime", lifetime)
        self._lifetime_ms = round(lifetime * 1000)
        self._on_failure = on_failure
        self._waiting: dict[str, tuple[ValueT, float]] = {}
        self._storing: dict[str, asyncio.Task[None]] = {}

    def put(self, key: str, value: ValueT, as_of: float) -> None:
        """Store in the background, so that a slow Redis delays nobody."""
        if self._client.is_open:
            self._counts.stored(StoreOutcome.FAILED)
            return
        self._waiting[key] = (value, as_of)
        if key not in self._storing:
            # It belongs to no call, and has no deadline of one.
            self._storing[key] = asyncio.create_task(self._store_waiting(key), context=contextvars.Context())

    async def drain(self) -> None:
        """Wait until everything that is being stored has been, or has failed."""
        while self._storing:
            await asyncio.wait(list(self._storing.values()))

    async def _store_waiting(self, key: str) -> None:
        try:
            while key in self._waiting:
                value, as_of = self._waiting.pop(key)
                try:
                    await self._store(key, value, as_of)
                # An amount of more than 64 bits has no encoding.
                except (SchedulerRepoError, OverflowError) as error:
                    self._counts.stored(StoreOutcome.FAILED)
                    if self._on_failure is not None and not isinstance(error, BreakerOpen):
                        self._on_failure(error)
                else:
                    self._counts.stored(StoreOutcome.STORED)
        finally:
            del self._storing[key]

    async def _store(self, key: str, value: ValueT, as_of: float) -> None:
        # An end on the server's clock, not a lifetime: a server that hangs may run the SET much later.
        clock_ms = await self._client.clock()
        taken_at_ms = clock_ms - milliseconds_since(as_of)
        entry = await self._encode(key, value, taken_at_ms)
        await self._client.set_until(key, entry, taken_at_ms + self._lifetime_ms)


class AgedCache(Generic[ValueT]):
    """One kind of value by its id: from Redis while it is young enough for the caller, else from the database.

    An entry says when it was true by the server's clock, at or before its read; what the look-up takes is added
    to its age, so that this is never under-estimated. Callers that allow the same staleness share one look-up
    and one read; who comes too late for that, by its age, asks by itself.
    """

    def __init__(
        self,
        client: ValkeyClient,
        name: CacheName,
        value_type: type[ValueT],
        database_key: Callable[[], Awaitable[DatabaseKey]],
        *,
        lifetime: float,
    ) -> None:
        """Take what is cached, how to ask which database this is, and how long an entry lives (seconds)."""
        self.counts = CacheCounts(name)
        self._client = client
        self._name = name
        self._format_version = format_version_of(value_type)
        self._encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
        self._decode = msgspec.msgpack.Decoder(value_type).decode
        self._database_key = database_key
        self._store = NewestStore(client, self.counts, self._encode, lifetime)
        self._flights: SingleFlight[Aged[ValueT]] = SingleFlight()

    async def get(self, entity_id: str, max_staleness: float, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Return the value of an id, at most ``max_staleness`` seconds old; 0 always reads, and shares nothing.

        Raises what ``read`` does. Costs one round trip to Redis if staleness is allowed, and after it the
        statements of ``read`` if there is no value so young; storing it delays nobody.
        """
        key = f"{_KEY_PREFIX}:{self._name}:{entity_id}"
        if max_staleness > 0:
            asked = monotonic()
            shared = await self._flights.run(
                (key, max_staleness), lambda: self._look_up_or_read(key, max_staleness, read)
            )
            if shared.suits(asked, max_staleness):
                return shared.value
        return (await self._read(key, read)).value

    async def drain(self) -> None:
        """Wait until everything that is being read or stored has been, or has failed."""
        await self._flights.drain()
        await self._store.drain()

    async def _look_up_or_read(
        self, key: str, max_staleness: float, read: Callable[[], Awaitable[ValueT]]
    ) -> Aged[ValueT]:
        asked = monotonic()
        found = await self._look_up(key, asked)
        if isinstance(found, Aged) and not found.suits(monotonic(), max_staleness):
            found = CacheOutcome.TOO_OLD
        if isinstance(found, CacheOutcome):
            self.counts.looked_up(found)
            return await self._read(key, read)
        self.counts.looked_up(CacheOutcome.HIT)
        return found

    async def _read(self, key: str, read: Callable[[], Awaitable[ValueT]]) -> Aged[ValueT]:
        as_of = monotonic()
        value = await read()
        self._store.put(key, value, as_of)
        return Aged(value, as_of)

    async def _look_up(self, key: str, asked: float) -> "Aged[ValueT] | CacheOutcome":
        try:
            entry, clock_ms = await self._client.get_with_clock(key)
        except CacheUnavailable as error:
            return outcome_of(error)
        if entry is None:
            return CacheOutcome.ABSENT
        found = opened(entry)
        if isinstance(found, CacheOutcome):
            return found
        header = found.header
        odd = judged(header, format_version=self._format_version, cache=self._name, key=key)
        if odd is not None:
            return odd
        if header.database != await self._database_key():
            return CacheOutcome.OTHER_DATABASE
        age_ms = clock_ms - header.taken_at_ms
        # A server whose clock was set back: the age is not known.
        if age_ms < 0:
            return CacheOutcome.TOO_OLD
        try:
            value = self._decode(found.value)
        except UNREADABLE:
            return CacheOutcome.UNREADABLE
        return Aged(value, asked - age_ms / 1000)

    async def _encode(self, key: str, value: ValueT, taken_at_ms: int) -> bytes:
        header = Header(self._format_version, self._name, key, await self._database_key(), taken_at_ms)
        return framed(header, self._encoder.encode(value))


def milliseconds_since(start: float) -> int:
    """How long ago ``start``, of the monotonic clock, was; rounded up."""
    return math.ceil((monotonic() - start) * 1000)
