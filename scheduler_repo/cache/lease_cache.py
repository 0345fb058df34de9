"""Values that are removed from Redis when they change, and otherwise end after some seconds."""

import os
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Optional, TypeVar

import msgspec

from scheduler_repo.cache.background import BackgroundTasks
from scheduler_repo.cache.client import ValkeyClient, outcome_of
from scheduler_repo.cache.entry import LEASE, DatabaseKey, Header, format_version_of, framed, judged, opened
from scheduler_repo.cache.metrics import CacheCounts, CacheName, CacheOutcome, StoreOutcome
from scheduler_repo.cache.pending_invalidations import Invalidations
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.errors import CacheUnavailable, SchedulerRepoError
from scheduler_repo.scheduling.snapshot.encoding import UNREADABLE
from scheduler_repo.validation import check_seconds

_KEY_PREFIX: Final = "scheduler_repo"
_TOKEN_BYTES: Final = 16
ValueT = TypeVar("ValueT")


class _Lease(msgspec.Struct, frozen=True):
    """The right to fill a key, and the server's clock before the read that fills it."""

    token: bytes
    clock_ms: int


class _LookedUp(msgspec.Struct, Generic[ValueT], frozen=True):
    outcome: CacheOutcome
    value: Optional[ValueT] = None
    lease: Optional[_Lease] = None


class InvalidatedCache(Generic[ValueT]):
    """One kind of value by its id: from Redis, else from the database and then stored.

    A reader that misses puts a lease under the key before it reads the database, and stores its answer only in
    place of that lease. A change removes entry and lease alike, so an answer read before the change is never
    stored after it, however long its reader took. Who asks while another reads shares its answer.
    """

    def __init__(
        self,
        client: ValkeyClient,
        name: CacheName,
        value_type: type[ValueT],
        database_key: Callable[[], Awaitable[DatabaseKey]],
        invalidations: Invalidations,
        *,
        lifetime: float,
        tasks: BackgroundTasks,
    ) -> None:
        """Take what is cached, how to ask which database this is, and how long an entry lives (seconds)."""
        self.counts = CacheCounts(name)
        self._client = client
        self._name = name
        self._format_version = format_version_of(value_type)
        self._encode = msgspec.msgpack.Encoder(uuid_format="bytes").encode
        self._decode = msgspec.msgpack.Decoder(value_type).decode
        self._database_key = database_key
        self._invalidations = invalidations
        check_seconds("lifetime", lifetime)
        self._lifetime_ms = round(lifetime * 1000)
        self._tasks = tasks
        self._flights: SingleFlight[ValueT] = SingleFlight()

    def key_of(self, entity_id: object) -> str:
        """The key of an id in Redis."""
        return f"{_KEY_PREFIX}:{self._name}:{entity_id}"

    async def get(self, key: str, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Return the value of a key, else what ``read`` returns or raises.

        Costs one round trip to Redis, and after it ``read``'s statements if there is no value; storing it
        delays nobody.
        """
        return await self._flights.run(key, lambda: self._get(key, read))

    def detach(self, key: str) -> None:
        """Have readers from now on not share an answer that is being read already."""
        self._flights.detach(key)

    async def drain(self) -> None:
        """Wait until nothing is being read."""
        await self._flights.drain()

    async def _get(self, key: str, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        looked_up = await self._look_up(key)
        self.counts.looked_up(looked_up.outcome)
        if looked_up.value is not None:
            return looked_up.value
        value: Optional[ValueT] = None
        try:
            value = await read()
        finally:
            if looked_up.lease is not None:
                self._tasks.start(self._fill(key, looked_up.lease, value))
        return value

    async def _look_up(self, key: str) -> "_LookedUp[ValueT]":
        if self._invalidations.is_doubted(key):
            return _LookedUp(CacheOutcome.INVALIDATED)
        token = LEASE + os.urandom(_TOKEN_BYTES)
        try:
            found = await self._client.get_or_lease(key, token, self._lifetime_ms)
        except CacheUnavailable as error:
            return _LookedUp(outcome_of(error))
        if found.entry is None:
            if found.is_refused:
                self.counts.stored(StoreOutcome.FAILED)
            lease = _Lease(token, found.clock_ms) if found.has_lease else None
            return _LookedUp(CacheOutcome.ABSENT, lease=lease)
        looked_up = await self._judge(key, found.entry, found.clock_ms)
        if looked_up.value is None and looked_up.outcome is not CacheOutcome.BEING_FILLED:
            self._tasks.start(self._drop(key, found.entry))
        # Changed while it was looked at: whoever asks from now on must not get what was there before.
        if self._invalidations.is_doubted(key):
            return _LookedUp(CacheOutcome.INVALIDATED)
        return looked_up

    async def _judge(self, key: str, entry: bytes, clock_ms: int) -> "_LookedUp[ValueT]":
        found = opened(entry)
        if isinstance(found, CacheOutcome):
            return _LookedUp(found)
        header = found.header
        odd = judged(header, format_version=self._format_version, cache=self._name, key=key)
        if odd is not None:
            return _LookedUp(odd)
        if header.database != await self._database_key():
            return _LookedUp(CacheOutcome.OTHER_DATABASE)
        # An entry whose end was taken from it, or a server whose clock was set back.
        if not 0 <= clock_ms - header.taken_at_ms < self._lifetime_ms:
            return _LookedUp(CacheOutcome.TOO_OLD)
        if header.taken_at_ms < self._invalidations.removed_at_ms(key):
            return _LookedUp(CacheOutcome.INVALIDATED)
        try:
            return _LookedUp(CacheOutcome.HIT, self._decode(found.value))
        except UNREADABLE:
            return _LookedUp(CacheOutcome.UNREADABLE)

    async def _fill(self, key: str, lease: _Lease, value: Optional[ValueT]) -> None:
        try:
            entry = b""
            if value is not None:
                database = await self._database_key()
                header = Header(self._format_version, self._name, key, database, lease.clock_ms)
                entry = framed(header, self._encode(value))
            filled = await self._client.fill(key, lease.token, entry, lease.clock_ms + self._lifetime_ms)
        # A sum of more than 64 bits has no encoding; its lease stays, so that nobody else tries for a while.
        except (SchedulerRepoError, OverflowError):
            self.counts.stored(StoreOutcome.FAILED)
        else:
            if value is not None:
                self.counts.stored(StoreOutcome.STORED if filled else StoreOutcome.SUPERSEDED)

    async def _drop(self, key: str, entry: bytes) -> None:
        """Remove an entry that nobody can use, so that the next reader may fill the key."""
        try:
            if entry:
                await self._client.fill(key, entry, b"", 0)
            else:
                await self._client.remove((key,))
        except CacheUnavailable:
            self.counts.stored(StoreOutcome.FAILED)
