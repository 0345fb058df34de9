"""The policy of a bounded age for values of megabytes: stored now and then, by one process, read in pieces."""

import os
from collections import OrderedDict
from contextlib import suppress
from typing import ClassVar, Final, Generic, Optional, TypeVar, Union

import msgspec

from scheduler_repo.cache.bounded_staleness import BoundedStalenessCache
from scheduler_repo.cache.client import Piece, ValkeyClient
from scheduler_repo.cache.entry import MARK_BYTES, Header, peek_header
from scheduler_repo.cache.metrics import CacheOutcome, StoreOutcome
from scheduler_repo.cache.read_through import Cached, CachedKind, ReadValue
from scheduler_repo.entities.snapshot_token import SnapshotToken
from scheduler_repo.errors import CacheRefused, CacheUnavailable, InvalidToken

# One takes a few milliseconds, of the server too, which does nothing else meanwhile.
_PIECE_BYTES: Final = 2**20
# Where the header of an entry ends as a rule: some hundred bytes, and ten for each transaction in progress.
_HEAD_BYTES: Final = 2**14
# Redis takes 512 MiB.
_LARGEST: Final = 2**28
# How long a process may take from one piece to the next; others store after that.
_TURN_MS: Final = 10_000
_TRIES: Final = 3
_MAX_OPENED: Final = 16
# As they are stored; decoded they are some ten times as large.
_MAX_OPENED_BYTES: Final = 2**25
_HOLDER_BYTES: Final = 16
# As many as one process may find at once; an entry that was forgotten here stays until it is too old.
_MAX_USELESS: Final = 256

ValueT = TypeVar("ValueT")


class _Opened(msgspec.Struct, Generic[ValueT], frozen=True):
    """An entry that was opened: what it is known by, its header and its value."""

    mark: bytes
    length: int
    header: Header
    value: ValueT


class LargeValueCache(BoundedStalenessCache[ValueT]):
    """Values that take long to encode, to send and to decode, such as the state of a large group.

    An entry is written and read in pieces, each within the client's time. One process at a time stores a value
    of an id, and never in place of a newer one of the same history. Who allows no staleness stores nothing.
    What was opened last is remembered, 16 entries of 32 MiB together at the most, but always one: while it is
    the same, a look-up is one short round trip.
    """

    stores_exact_reads: ClassVar[bool] = False

    def __init__(self, client: ValkeyClient, kind: CachedKind[ValueT], *, lifetime: float) -> None:
        super().__init__(client, kind, lifetime=lifetime)
        self._opened: OrderedDict[str, _Opened[ValueT]] = OrderedDict()
        # What is stored and was found to be of no use, by key; what was found last stands at the end.
        self._useless: OrderedDict[str, SnapshotToken] = OrderedDict()

    async def find(self, entity_id: object) -> Optional[ValueT]:
        """Return the value of an id whatever its age, if one is stored that can be believed.

        Costs one round trip for each megabyte; what comes of it is counted as of any look-up.
        """
        try:
            found, _ = await self._fetch(self.build_key(entity_id))
        except CacheUnavailable as error:
            found = self._fail_look_up(error)
        self.counts.count_look_up(found if isinstance(found, CacheOutcome) else CacheOutcome.HIT)
        return None if isinstance(found, CacheOutcome) else found.value

    async def peek(self, entity_id: object) -> Optional[SnapshotToken]:
        """Return the token of what is stored, while that is younger than half a lifetime.

        A hint: its signature is not looked at. Raises CacheUnavailable. Costs one short round trip.
        """
        seen = await self._client.get_piece(self.build_key(entity_id), 0, _HEAD_BYTES)
        header = peek_header(seen.part)
        if header is None or not self._is_alive(header, seen.clock_ms, self._lifetime_ms // 2):
            return None
        return _parse(header.token)

    def store(self, entity_id: object, found: ReadValue[ValueT]) -> None:
        """Store a value beside the calls; ``drain`` waits for it, and the metrics count what comes of it."""
        self._store_beside(self.build_key(entity_id), found)

    def distrust(self, entity_id: object, token: SnapshotToken) -> None:
        """Let the next value be stored in place of that of a token, however new that seems."""
        key = self.build_key(entity_id)
        self._useless[key] = token
        self._useless.move_to_end(key)
        if len(self._useless) > _MAX_USELESS:
            self._useless.popitem(last=False)

    async def _fetch(self, key: str) -> tuple[Union[Cached[ValueT], CacheOutcome], int]:
        opened = self._opened.get(key)
        if opened is not None:
            seen = await self._client.get_piece(key, 0, 1)
            if (seen.mark, seen.length) == (opened.mark, opened.length):
                fault = await self._find_fault(key, opened.header, seen.clock_ms)
                return fault or Cached(opened.value, opened.header.taken_at_ms), seen.clock_ms
            del self._opened[key]
        first = await self._client.get_piece(key, 0, _PIECE_BYTES)
        for _ in range(_TRIES):
            if not first.length:
                return CacheOutcome.UNREADABLE if first.is_other_type else CacheOutcome.ABSENT, first.clock_ms
            if first.length > _LARGEST:
                return CacheOutcome.UNREADABLE, first.clock_ms
            parts, replaced = await self._fetch_rest(key, first)
            if replaced is None:
                return await self._open(key, b"".join(parts), first.clock_ms), first.clock_ms
            first = await self._client.get_piece(key, 0, _PIECE_BYTES)
        return CacheOutcome.BEING_FILLED, first.clock_ms

    async def _fetch_rest(self, key: str, first: Piece) -> tuple[list[bytes], Optional[Piece]]:
        """Return the pieces of an entry, and the first that is another's if it was replaced meanwhile."""
        parts, size = [first.part], len(first.part)
        while size < first.length:
            piece = await self._client.get_piece(key, size, _PIECE_BYTES)
            if (piece.mark, piece.length) != (first.mark, first.length) or not piece.part:
                return parts, piece
            parts.append(piece.part)
            size += len(piece.part)
        return parts, None

    async def _open(self, key: str, stored: bytes, clock_ms: int) -> Union[Cached[ValueT], CacheOutcome]:
        found = await super()._open(key, stored, clock_ms)
        if isinstance(found, Cached):
            header = peek_header(stored)
            if header is not None:
                self._remember(key, _Opened(stored[:MARK_BYTES], len(stored), header, found.value))
        return found

    async def _store(self, key: str, found: ReadValue[ValueT]) -> StoreOutcome:
        holder = os.urandom(_HOLDER_BYTES)
        turn = f"{key.replace(':', '_storing:', 1)}"
        if not await self._client.take_turn(turn, holder, _TURN_MS):
            return StoreOutcome.SUPERSEDED
        try:
            return await self._store_in_turn(key, found, f"{key.replace(':', '_part:', 1)}:{holder.hex()}")
        finally:
            with suppress(CacheUnavailable):
                await self._client.fill(turn, holder, b"", 0)

    async def _store_in_turn(self, key: str, found: ReadValue[ValueT], part_key: str) -> StoreOutcome:
        seen = await self._client.get_piece(key, 0, _HEAD_BYTES)
        if self._is_superseded(key, found, seen):
            return StoreOutcome.SUPERSEDED
        taken_at_ms = self._taken_at_ms(found, seen.clock_ms)
        entry = await self._build_entry(key, found, taken_at_ms)
        if len(entry) > _LARGEST:
            raise CacheRefused(f"{key} takes {len(entry):,} bytes, more than the {_LARGEST:,} that are stored")
        view = memoryview(entry)
        for start in range(0, len(entry), _PIECE_BYTES):
            await self._client.append(part_key, view[start : start + _PIECE_BYTES], _TURN_MS)
        ends_at_ms = taken_at_ms + self._lifetime_ms
        if not await self._client.replace(key, seen.mark, part_key, len(entry), ends_at_ms):
            return StoreOutcome.SUPERSEDED
        self._useless.pop(key, None)
        header = peek_header(entry)
        if header is not None:
            self._remember(key, _Opened(entry[:MARK_BYTES], len(entry), header, found.value))
        return StoreOutcome.STORED

    def _is_superseded(self, key: str, found: ReadValue[ValueT], seen: Piece) -> bool:
        """Whether what is stored is newer, by its header, of the same database and history, and of use."""
        header = peek_header(seen.part)
        ours = self._kind.get_token(found.value)
        if header is None or ours is None or found.database is None:
            return False
        if header.identity != self._identify(key, found.database):
            return False
        theirs = _parse(header.token)
        is_alive = self._is_alive(header, seen.clock_ms, self._lifetime_ms)
        if theirs is None or theirs == self._useless.get(key):
            return False
        return is_alive and theirs.is_newer_than(ours)

    def _remember(self, key: str, opened: _Opened[ValueT]) -> None:
        self._opened[key] = opened
        self._opened.move_to_end(key)
        size = sum(each.length for each in self._opened.values())
        while len(self._opened) > 1 and (len(self._opened) > _MAX_OPENED or size > _MAX_OPENED_BYTES):
            size -= self._opened.popitem(last=False)[1].length


def _parse(token: str) -> Optional[SnapshotToken]:
    try:
        return SnapshotToken.parse(token)
    except InvalidToken:
        return None
