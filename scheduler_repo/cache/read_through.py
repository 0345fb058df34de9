"""The base of all caches: the key of a value, the entry around it, the one check of an entry, and counts."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final, Generic, Optional, ParamSpec, TypeVar, Union

import msgspec

from scheduler_repo.cache.client import ValkeyClient
from scheduler_repo.cache.current_database import CurrentDatabase
from scheduler_repo.cache.entry import Header, Identity, build_entry, find_mismatch, open_entry
from scheduler_repo.cache.metrics import CacheCounts, CacheName, CacheOutcome, StoreOutcome
from scheduler_repo.cache.single_flight import BackgroundTasks
from scheduler_repo.database.identity import name_database, recording_origin
from scheduler_repo.entities.encoding import UNREADABLE, build_decoder, compute_format_version, encode
from scheduler_repo.entities.snapshot_token import DatabaseIdentity, SnapshotToken
from scheduler_repo.errors import BreakerOpen, CacheBusy, CacheMisused, CacheRefused, CacheUnavailable
from scheduler_repo.quoting import get_logger
from scheduler_repo.types import TransactionId
from scheduler_repo.validation import Bound, check_range

_logger = get_logger(__name__)
_KEY_PREFIX: Final = "scheduler_repo"
# A digest of more bytes takes longer than handing it to a thread.
_LARGE_BYTES: Final = 500_000

P = ParamSpec("P")
R = TypeVar("R")
ValueT = TypeVar("ValueT")


class Codec(Generic[ValueT]):
    """Encodes small structs of one type; a subclass may encode others, in slices."""

    def __init__(self, value_type: type[ValueT]) -> None:
        self.format_version = compute_format_version(value_type)
        self._decode = build_decoder(value_type)

    async def encode(self, value: ValueT) -> bytes:
        """Encode a value, with amounts of any size."""
        return encode(value)

    async def decode(self, encoded: memoryview) -> ValueT:
        """Decode a value; raises one of ``UNREADABLE`` for bytes that are no encoding of one."""
        return self._decode(encoded)


def _has_seen_none(_value: object, _transaction_id: TransactionId) -> bool:
    return False


def _has_no_token(_value: object) -> Optional[SnapshotToken]:
    return None


class CachedKind(msgspec.Struct, Generic[ValueT], frozen=True):
    """One kind of cached value.

    ``get_id`` says whose value it is; None is nobody's. ``database`` is the one that is read from now.
    ``has_seen`` says whether a value includes the write of a transaction, ``get_token`` of which snapshot it
    is, where that is known.
    """

    name: CacheName
    codec: Codec[ValueT]
    get_id: Callable[[ValueT], object]
    database: CurrentDatabase
    has_seen: Callable[[ValueT, TransactionId], bool] = _has_seen_none
    get_token: Callable[[ValueT], Optional[SnapshotToken]] = _has_no_token


class ReadValue(msgspec.Struct, Generic[ValueT], frozen=True):
    """A value from a database, None if its read did not say which, asked at that monotonic time."""

    value: ValueT
    database: Optional[DatabaseIdentity]
    asked_at: float


class Cached(msgspec.Struct, Generic[ValueT], frozen=True):
    """A value from the cache, and the server's clock (ms) when it was true, or earlier."""

    value: ValueT
    taken_at_ms: int


class ReadThroughCache(Generic[ValueT]):
    """The base of the two policies of freshness: values of one kind by their id."""

    def __init__(self, client: ValkeyClient, kind: CachedKind[ValueT], *, lifetime: float) -> None:
        """Keep each entry for ``lifetime`` seconds; raises InvalidInput for what is no such time."""
        check_range(lifetime, Bound, "lifetime")
        self.counts = CacheCounts(kind.name)
        self._client = client
        self._kind = kind
        self._lifetime_ms = round(lifetime * 1000)
        self._tasks = BackgroundTasks()
        self._has_warned_of_misuse = False

    def build_key(self, entity_id: object) -> str:
        """Build the key of an id in Redis."""
        return f"{_KEY_PREFIX}:{self._kind.name}:{entity_id}"

    async def _open(self, key: str, stored: bytes, clock_ms: int) -> Union[Cached[ValueT], CacheOutcome]:
        """Return the value of an entry that was found at ``clock_ms``, or say why it is not to be believed."""
        entry = await run_beside(len(stored), open_entry, stored, self._client.seal)
        if isinstance(entry, CacheOutcome):
            return entry
        fault = await self._find_fault(key, entry.header, clock_ms)
        if fault is not None:
            return fault
        try:
            value = await self._kind.codec.decode(entry.value)
        except UNREADABLE:
            return CacheOutcome.UNREADABLE
        if self.build_key(self._kind.get_id(value)) != key:
            return CacheOutcome.OTHER_KEY
        if self._token_of(value) != entry.header.token:
            return CacheOutcome.UNREADABLE
        return Cached(value, entry.header.taken_at_ms)

    async def _find_fault(self, key: str, header: Header, clock_ms: int) -> Optional[CacheOutcome]:
        """Say why an entry with this header is not the one that is asked for, or not now; None if it is."""
        mismatch = find_mismatch(header.identity, self._identify(key, await self._kind.database.get()))
        if mismatch is not None:
            return mismatch
        return None if self._is_alive(header, clock_ms, self._lifetime_ms) else CacheOutcome.TOO_OLD

    def _is_alive(self, header: Header, clock_ms: int, lifetime_ms: int) -> bool:
        # Not an entry whose end was taken from it, nor of before a server's clock was set back.
        return 0 <= clock_ms - header.taken_at_ms < lifetime_ms

    async def _ask_database(self, read: Callable[[], Awaitable[ValueT]]) -> ReadValue[ValueT]:
        """Read a value; raises what ``read`` does."""
        asked_at = monotonic()
        with recording_origin() as origin:
            value = await read()
        if origin.database is not None:
            self._kind.database.saw(origin.database, asked_at)
        return ReadValue(value, origin.database, asked_at)

    async def _build_entry(self, key: str, found: ReadValue[ValueT], taken_at_ms: int) -> bytes:
        """Build the entry of a value; raises CacheUnavailable if its origin is not known."""
        if found.database is None:
            raise CacheUnavailable(f"it is not known which database {key} was read from")
        header = Header(self._identify(key, found.database), taken_at_ms, self._token_of(found.value))
        encoded = await self._kind.codec.encode(found.value)
        return await run_beside(len(encoded), build_entry, header, encoded, self._client.seal)

    def _identify(self, key: str, database: DatabaseIdentity) -> Identity:
        return Identity(self._kind.name, key, self._kind.codec.format_version, name_database(database))

    def _token_of(self, value: ValueT) -> str:
        token = self._kind.get_token(value)
        return "" if token is None else str(token)

    def _fail_look_up(self, error: CacheUnavailable) -> CacheOutcome:
        if isinstance(error, BreakerOpen):
            return CacheOutcome.BREAKER_OPEN
        if isinstance(error, CacheBusy):
            return CacheOutcome.BUSY
        self._warn("a look-up of %s failed, the database is asked: %s", error)
        if isinstance(error, CacheMisused):
            return CacheOutcome.MISUSED
        return CacheOutcome.REFUSED if isinstance(error, CacheRefused) else CacheOutcome.UNREACHABLE

    def _fail_store(self, error: Exception) -> None:
        self.counts.count_store(StoreOutcome.FAILED)
        if not isinstance(error, BreakerOpen):
            self._warn("storing %s in the cache failed: %s", error)

    def _warn(self, text: str, error: Exception) -> None:
        """Log why the cache was of no use; that it is misused, once, as it does not pass."""
        if isinstance(error, CacheMisused):
            if self._has_warned_of_misuse:
                return
            self._has_warned_of_misuse = True
        _logger.warning(text, self._kind.name, error)


async def run_beside(size: int, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function on ``size`` bytes: on many of them in a thread, beside the event loop."""
    if size < _LARGE_BYTES:
        return function(*args, **kwargs)
    return await asyncio.to_thread(function, *args, **kwargs)
