"""The policy of a bounded age: values from Redis while they are young enough for the caller."""

import math
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import ClassVar, Generic, Optional, TypeAlias, TypeVar, Union

import msgspec

from scheduler_repo.cache.client import ValkeyClient
from scheduler_repo.cache.metrics import CacheOutcome, StoreOutcome
from scheduler_repo.cache.read_through import Cached, CachedKind, ReadThroughCache, ReadValue
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.errors import CacheUnavailable, SchedulerRepoError
from scheduler_repo.types import TransactionId

ValueT = TypeVar("ValueT")
# Reads a value from the database, with the help of one that is too old where there is one.
Read: TypeAlias = Callable[[Optional[ValueT]], Awaitable[ValueT]]


class Aged(msgspec.Struct, Generic[ValueT], frozen=True):
    """A value, and since when at least it may be out of date, on this process's monotonic clock."""

    value: ValueT
    as_of: float


class Demand(msgspec.Struct, frozen=True):
    """The age in seconds that a caller accepts, 0 for none, and the writes that a value must have seen.

    Callers with equal demands share answers.
    """

    max_staleness: float
    after: frozenset[TransactionId] = frozenset()


class BoundedStalenessCache(ReadThroughCache[ValueT]):
    """Values of one kind by their id: from Redis while young enough for the caller, else from the database.

    An entry says when it was true by the server's clock, at or before its read; what the look-up takes is added
    to its age, so that this is never under-estimated. Callers with equal demands share one look-up, and all
    that miss share one read; a caller that comes too late for that, by its age, asks by itself.
    """

    stores_exact_reads: ClassVar[bool] = True

    def __init__(self, client: ValkeyClient, kind: CachedKind[ValueT], *, lifetime: float) -> None:
        super().__init__(client, kind, lifetime=lifetime)
        self._look_ups: SingleFlight[Aged[ValueT]] = SingleFlight()
        self._reads: SingleFlight[Aged[ValueT]] = SingleFlight()
        # The newest answer of each key that waits to be stored, and the keys of which one is being stored.
        self._waiting: dict[str, ReadValue[ValueT]] = {}
        self._storing: set[str] = set()

    async def get(self, entity_id: object, demand: Demand, read: Read[ValueT]) -> ValueT:
        """Return the value of an id; without allowed staleness always from the database, shared with nobody.

        ``read`` is given what was found and is too old, if anything was. Raises what ``read`` does. Costs one
        round trip to Redis if staleness is allowed, and after it the statements of ``read`` if no value meets
        the demand; storing it delays nobody.
        """
        key = self.build_key(entity_id)
        if demand.max_staleness > 0:
            asked = monotonic()
            shared = await self._look_ups.run((key, demand), lambda: self._look_up_or_read(key, demand, read))
            if self._meets(shared, demand, asked):
                return shared.value
        return (await self._read(key, read, stores=self.stores_exact_reads)).value

    async def drain(self) -> None:
        await self._look_ups.drain()
        await self._reads.drain()
        await self._tasks.drain()

    def _meets(self, found: Aged[ValueT], demand: Demand, asked: float) -> bool:
        if not all(self._kind.has_seen(found.value, each) for each in demand.after):
            return False
        return found.as_of >= asked - demand.max_staleness

    async def _look_up_or_read(self, key: str, demand: Demand, read: Read[ValueT]) -> Aged[ValueT]:
        asked = monotonic()
        found = await self._look_up(key, asked)
        old: Optional[ValueT] = None
        if isinstance(found, Aged):
            if self._meets(found, demand, monotonic()):
                self.counts.count_look_up(CacheOutcome.HIT)
                return found
            old, found = found.value, CacheOutcome.TOO_OLD
        self.counts.count_look_up(found)
        shared = await self._reads.run(key, lambda: self._read(key, read, old))
        return shared if self._meets(shared, demand, asked) else await self._read(key, read, old)

    async def _look_up(self, key: str, asked: float) -> Union[Aged[ValueT], CacheOutcome]:
        try:
            found, clock_ms = await self._fetch(key)
        except CacheUnavailable as error:
            return self._fail_look_up(error)
        if isinstance(found, CacheOutcome):
            return found
        # Both clocks are whole milliseconds, rounded down.
        return Aged(found.value, asked - (clock_ms + 1 - found.taken_at_ms) / 1000)

    async def _fetch(self, key: str) -> tuple[Union[Cached[ValueT], CacheOutcome], int]:
        """Return what is there, or why nothing of use is, and the server's clock (ms) before."""
        stored, clock_ms = await self._client.get_with_clock(key)
        if stored is None:
            return CacheOutcome.ABSENT, clock_ms
        return await self._open(key, stored, clock_ms), clock_ms

    async def _read(
        self, key: str, read: Read[ValueT], old: Optional[ValueT] = None, *, stores: bool = True
    ) -> Aged[ValueT]:
        found = await self._ask_database(lambda: read(old))
        if stores:
            self._store_beside(key, found)
        return Aged(found.value, found.asked_at)

    def _store_beside(self, key: str, found: ReadValue[ValueT]) -> None:
        """Store in the background: a slow Redis delays nobody. An older answer that still waits is dropped."""
        if self._client.is_open:
            self.counts.count_store(StoreOutcome.FAILED)
            return
        self._waiting[key] = found
        if key not in self._storing:
            self._storing.add(key)
            self._tasks.start(self._store_waiting(key))

    async def _store_waiting(self, key: str) -> None:
        try:
            while key in self._waiting:
                found = self._waiting.pop(key)
                try:
                    self.counts.count_store(await self._store(key, found))
                except SchedulerRepoError as error:
                    self._fail_store(error)
        finally:
            self._storing.remove(key)

    async def _store(self, key: str, found: ReadValue[ValueT]) -> StoreOutcome:
        """Store an answer; raises CacheUnavailable."""
        # An end on the server's clock, not a lifetime: a hung server may run the SET much later.
        taken_at_ms = self._taken_at_ms(found, await self._client.clock())
        entry = await self._build_entry(key, found, taken_at_ms)
        await self._client.set_until(key, entry, taken_at_ms + self._lifetime_ms)
        return StoreOutcome.STORED

    def _taken_at_ms(self, found: ReadValue[ValueT], clock_ms: int) -> int:
        """Return when, or before when, a value was true, by the server's clock, which is ``clock_ms`` now."""
        return clock_ms - math.ceil((monotonic() - found.asked_at) * 1000)
