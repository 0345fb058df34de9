"""The policy of removal: values that leave Redis when they change, and otherwise end after some seconds."""

import os
from collections.abc import Awaitable, Callable
from typing import Final, Generic, Optional, TypeVar

import msgspec

from scheduler_repo.cache.client import ValkeyClient
from scheduler_repo.cache.entry import LEASE
from scheduler_repo.cache.metrics import CacheOutcome, StoreOutcome
from scheduler_repo.cache.pending_invalidations import PendingInvalidations
from scheduler_repo.cache.read_through import CachedKind, ReadThroughCache, ReadValue
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.errors import CacheUnavailable, SchedulerRepoError

_TOKEN_BYTES: Final = 16

ValueT = TypeVar("ValueT")


class _Lease(msgspec.Struct, frozen=True):
    """The right to fill a key, and the server's clock before the read that fills it."""

    token: bytes
    clock_ms: int


class _LookUp(msgspec.Struct, Generic[ValueT], frozen=True):
    outcome: CacheOutcome
    value: Optional[ValueT] = None
    lease: Optional[_Lease] = None


class LeaseCache(ReadThroughCache[ValueT]):
    """Values of one kind by their id: from Redis, else from the database and then stored.

    A reader that misses puts a lease under the key before it reads the database, and stores its answer only in
    place of that lease. A change removes entry and lease alike, so an answer read before the change is never
    stored after it, however long its reader took. Callers that ask while another reads share its answer.
    """

    def __init__(
        self,
        client: ValkeyClient,
        kind: CachedKind[ValueT],
        invalidations: PendingInvalidations,
        *,
        lifetime: float,
    ) -> None:
        super().__init__(client, kind, lifetime=lifetime)
        self._invalidations = invalidations
        self._flights: SingleFlight[ValueT] = SingleFlight()

    async def get(self, entity_id: object, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Return the value of an id, else what ``read`` returns or raises.

        Costs one round trip to Redis, and after it the statements of ``read`` if there is no value; storing it
        delays nobody.
        """
        key = self.build_key(entity_id)
        return await self._flights.run(key, lambda: self._get(key, read))

    def detach(self, key: str) -> None:
        """Keep later readers from sharing an answer that is being read already."""
        self._flights.detach(key)

    async def drain(self) -> None:
        await self._flights.drain()
        await self._tasks.drain()

    async def _get(self, key: str, read: Callable[[], Awaitable[ValueT]]) -> ValueT:
        looked_up = await self._look_up(key)
        self.counts.count_look_up(looked_up.outcome)
        if looked_up.value is not None:
            return looked_up.value
        found: Optional[ReadValue[ValueT]] = None
        try:
            found = await self._ask_database(read)
        finally:
            if looked_up.lease is not None:
                self._tasks.start(self._fill(key, looked_up.lease, found))
        return found.value

    async def _look_up(self, key: str) -> _LookUp[ValueT]:
        if self._invalidations.is_doubted(key):
            return _LookUp(CacheOutcome.INVALIDATED)
        token = LEASE + os.urandom(_TOKEN_BYTES)
        try:
            found = await self._client.get_or_lease(key, token, self._lifetime_ms)
        except CacheUnavailable as error:
            return _LookUp(self._fail_look_up(error))
        if found.entry is None:
            if found.is_refused:
                self.counts.count_store(StoreOutcome.FAILED)
            lease = _Lease(token, found.clock_ms) if found.has_lease else None
            return _LookUp(CacheOutcome.ABSENT, lease=lease)
        cached = await self._open(key, found.entry, found.clock_ms)
        if not isinstance(cached, CacheOutcome) and cached.taken_at_ms < self._invalidations.removed_at_ms(key):
            cached = CacheOutcome.INVALIDATED
        if isinstance(cached, CacheOutcome) and cached is not CacheOutcome.BEING_FILLED:
            self._tasks.start(self._drop(key, found.entry))
        # Changed while it was looked at: callers that ask from now on must not get what was there before.
        if self._invalidations.is_doubted(key):
            return _LookUp(CacheOutcome.INVALIDATED)
        return _LookUp(cached) if isinstance(cached, CacheOutcome) else _LookUp(CacheOutcome.HIT, cached.value)

    async def _fill(self, key: str, lease: _Lease, found: Optional[ReadValue[ValueT]]) -> None:
        try:
            # Without a value the lease is given up. Where storing fails it stays: nobody tries for a while.
            entry = b"" if found is None else await self._build_entry(key, found, lease.clock_ms)
            filled = await self._client.fill(key, lease.token, entry, lease.clock_ms + self._lifetime_ms)
        except SchedulerRepoError as error:
            self._fail_store(error)
        else:
            if found is not None:
                self.counts.count_store(StoreOutcome.STORED if filled else StoreOutcome.SUPERSEDED)

    async def _drop(self, key: str, entry: bytes) -> None:
        """Remove an entry that nobody can use, so that the next reader may fill the key."""
        try:
            if entry:
                await self._client.fill(key, entry, b"", 0)
            else:
                await self._client.remove((key,))
        except CacheUnavailable as error:
            self._fail_store(error)
