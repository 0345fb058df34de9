"""A cached answer is never older than was allowed, and never another's."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

import msgspec
import pytest

from scheduler_repo.cache.entry import Entry, Header, Identity, build_entry, open_entry
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.database.identity import name_database
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_token import DatabaseIdentity
from scheduler_repo.errors import InvalidInput, ScalingGroupNotFound
from scheduler_repo.scheduling.snapshot.encoding import encode_scheduling_data
from scheduler_repo.scheduling.snapshot.packing import SNAPSHOT_FORMAT, compress_encoding
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import ScalingGroupName
from tests.faults.cached_reads import GROUP, KEY, OTHER_GROUP, OTHER_KEY, CachedReads
from tests.support.databases import SCHEDULER, Database
from tests.support.redis_proxy import Mode, RedisProxy
from tests.support.rows import insert, second_row
from tests.support.waiting import PATIENCE

LIFETIME_MS = 60_000
FORMAT_VERSION = SNAPSHOT_FORMAT.decode()


async def _age(cached: CachedReads, milliseconds: int) -> None:
    """Make the entry older than it is, as its header says."""
    entry = open_entry(await cached.entry())
    assert isinstance(entry, Entry)
    taken_at_ms = entry.header.taken_at_ms - milliseconds
    header = msgspec.structs.replace(entry.header, taken_at_ms=taken_at_ms)
    older = build_entry(header, bytes(entry.value))
    await cached.redis.set(KEY, older, keepttl=True)


def _without_instant(data: SchedulingData) -> SchedulingData:
    epoch = data.token.database.started_at
    return msgspec.structs.replace(
        data, token=msgspec.structs.replace(data.token, snapshot=""), observed_at=epoch
    )


class TestFreshness:
    async def test_zero_always_asks_the_database(
        self, cached: CachedReads, migrated_database: Database
    ) -> None:
        first = await cached.stored()
        async with migrated_database.driver_as(SCHEDULER) as driver:
            await insert(driver, "sessions", second_row("sessions", {}))

        second = await cached.stored()

        assert (len(first.pending_sessions), len(second.pending_sessions)) == (1, 2)
        assert await cached.read(30) == second
        assert cached.source.outcomes == {CacheOutcome.HIT: 1}

    async def test_reader_that_allows_staleness_runs_no_statement(self, cached: CachedReads) -> None:
        stored = await cached.stored()

        outcome, data, statements = await cached.outcome(30)

        assert (outcome, statements) == (CacheOutcome.HIT, 0)
        assert data == stored

    async def test_absent(self, cached: CachedReads) -> None:
        outcome, _, statements = await cached.outcome(30)

        assert outcome is CacheOutcome.ABSENT
        assert statements > 0

    @pytest.mark.parametrize(
        ("age_ms", "max_staleness", "expected"),
        [
            (5_000, 50.0, CacheOutcome.HIT),
            (5_000, 5.0, CacheOutcome.TOO_OLD),
            (0, 0.0005, CacheOutcome.TOO_OLD),
            (10_000, 1e9, CacheOutcome.HIT),
        ],
    )
    async def test_age(
        self, cached: CachedReads, age_ms: int, max_staleness: float, expected: CacheOutcome
    ) -> None:
        await cached.stored()
        await _age(cached, age_ms)

        outcome, _, statements = await cached.outcome(max_staleness)

        assert outcome is expected
        assert (statements == 0) == (expected is CacheOutcome.HIT)

    async def test_delay_between_read_and_store_counts(
        self, cached: CachedReads, redis_proxy: RedisProxy
    ) -> None:
        """A server that hangs takes the SET long after its writer gave up; that time is part of the age."""
        redis_proxy.mode = Mode.HOLD_SCRIPT
        with cached.hurried():
            await cached.read(30)
            await redis_proxy.held.wait()
            await cached.source.drain()
        await asyncio.sleep(0.3)
        redis_proxy.mode = Mode.FORWARD
        redis_proxy.deliver.set()
        async with asyncio.timeout(PATIENCE):
            while not await cached.redis.exists(KEY):
                await cached.redis.ping()
        await cached.recovered()

        assert await cached.redis.pttl(KEY) <= LIFETIME_MS - 300
        assert (await cached.outcome(0.3))[0] is CacheOutcome.TOO_OLD

    async def test_hundred_readers_at_once(self, cached: CachedReads) -> None:
        stored = await cached.stored()

        answers = await asyncio.gather(*(cached.read(30) for _ in range(100)))

        assert answers == [stored] * 100
        assert cached.source.outcomes == {CacheOutcome.HIT: 1}

    async def test_hundred_readers_without_an_entry(self, cached: CachedReads) -> None:
        answers = await asyncio.gather(*(cached.read(30) for _ in range(100)))

        assert {len(answer.pending_sessions) for answer in answers} == {1}
        assert await cached.stored() is not None

    @pytest.mark.parametrize("max_staleness", [-1.0, float("nan"), float("inf"), float("-inf")])
    async def test_refused_staleness(self, cached: CachedReads, max_staleness: float) -> None:
        with pytest.raises(InvalidInput, match="max_staleness"):
            await cached.read(max_staleness)

    async def test_unknown_group(self, cached: CachedReads) -> None:
        with pytest.raises(ScalingGroupNotFound):
            await cached.read(30, ScalingGroupName("nowhere"))


async def _replace(
    cached: CachedReads,
    data: SchedulingData,
    key: str = KEY,
    cache: str = "scheduling_data",
    format_version: str = FORMAT_VERSION,
) -> None:
    encoded = compress_encoding(await finish_in_slices(encode_scheduling_data(data)))
    read_from = data.token.database
    database = name_database(read_from)
    seconds, _ = await cached.redis.time()
    header = Header(Identity(cache, key, format_version, database), seconds * 1000, str(data.token))
    await cached.redis.set(KEY, build_entry(header, encoded), px=LIFETIME_MS - 1)


async def _other_key(cached: CachedReads) -> None:
    await cached.stored(OTHER_GROUP)
    assert await cached.redis.copy(OTHER_KEY, KEY, replace=True)


async def _other_cache(cached: CachedReads) -> None:
    await _replace(cached, await cached.stored(), cache="resource_totals")


async def _other_group(cached: CachedReads) -> None:
    await _replace(cached, await cached.stored(OTHER_GROUP))


async def _limited(cached: CachedReads) -> None:
    await _replace(cached, (await cached.db_source.get_scheduling_data(GROUP, 1)).data)


def _moved(data: SchedulingData, database: DatabaseIdentity) -> SchedulingData:
    return msgspec.structs.replace(data, token=msgspec.structs.replace(data.token, database=database))


async def _other_database(cached: CachedReads) -> None:
    data = await cached.stored()
    other = msgspec.structs.replace(data.token.database, database_oid=data.token.database.database_oid + 1)
    await _replace(cached, _moved(data, other))


async def _other_start(cached: CachedReads) -> None:
    data = await cached.stored()
    earlier = msgspec.structs.replace(
        data.token.database, started_at=data.token.database.started_at - timedelta(milliseconds=1)
    )
    await _replace(cached, _moved(data, earlier))


async def _other_format(cached: CachedReads) -> None:
    await _replace(cached, await cached.stored(), format_version="0" * 16)


async def _future_frame(cached: CachedReads) -> None:
    await cached.redis.set(KEY, b"SRC\x03" + (await cached.entry())[4:], keepttl=True)


async def _past_frame(cached: CachedReads) -> None:
    await cached.redis.set(KEY, b"SRC\x01" + (await cached.entry())[4:], keepttl=True)


async def _unframed(cached: CachedReads) -> None:
    await cached.redis.set(KEY, msgspec.msgpack.encode(["v2", {"unknown": None}]), keepttl=True)


async def _truncated(cached: CachedReads) -> None:
    encoded = await cached.entry()
    await cached.redis.set(KEY, encoded[: len(encoded) // 2], keepttl=True)


async def _random_bytes(cached: CachedReads) -> None:
    await cached.redis.set(KEY, bytes(range(255, 0, -1)), keepttl=True)


async def _empty(cached: CachedReads) -> None:
    await cached.redis.set(KEY, b"", keepttl=True)


async def _list_type(cached: CachedReads) -> None:
    await cached.redis.delete(KEY)
    await cached.redis.rpush(KEY, b"one")


async def _no_end(cached: CachedReads) -> None:
    await _age(cached, LIFETIME_MS)
    await cached.redis.persist(KEY)


async def _from_the_future(cached: CachedReads) -> None:
    await _age(cached, -10_000)


ODD_ENTRIES: Final[dict[Callable[[CachedReads], Awaitable[None]], CacheOutcome]] = {
    _other_key: CacheOutcome.OTHER_KEY,
    _other_cache: CacheOutcome.OTHER_KEY,
    _other_group: CacheOutcome.OTHER_KEY,
    _limited: CacheOutcome.OTHER_KEY,
    _other_database: CacheOutcome.OTHER_DATABASE,
    _other_start: CacheOutcome.OTHER_DATABASE,
    _other_format: CacheOutcome.OTHER_FORMAT,
    _future_frame: CacheOutcome.OTHER_FORMAT,
    _past_frame: CacheOutcome.OTHER_FORMAT,
    _unframed: CacheOutcome.UNREADABLE,
    _truncated: CacheOutcome.UNREADABLE,
    _random_bytes: CacheOutcome.UNREADABLE,
    _empty: CacheOutcome.ABSENT,
    _list_type: CacheOutcome.UNREADABLE,
    _no_end: CacheOutcome.TOO_OLD,
    _from_the_future: CacheOutcome.TOO_OLD,
}


class TestOddEntries:
    async def test_odd_entry_is_a_miss_and_is_replaced(self, cached: CachedReads) -> None:
        for make_odd, expected in ODD_ENTRIES.items():
            true = await cached.stored()
            await make_odd(cached)

            outcome, data, statements = await cached.outcome(30)
            await cached.source.drain()

            assert outcome is expected, make_odd.__name__
            assert statements > 0
            assert _without_instant(data) == _without_instant(true), make_odd.__name__
            assert (await cached.outcome(30))[0] is CacheOutcome.HIT, make_odd.__name__

    async def test_every_cut_is_a_miss(self, cached: CachedReads) -> None:
        await cached.stored()
        encoded = await cached.entry()
        for length in range(1, len(encoded), max(1, len(encoded) // 20)):
            await cached.redis.set(KEY, encoded[:length], px=LIFETIME_MS)

            assert (await cached.outcome(30))[0] is CacheOutcome.UNREADABLE
            await cached.source.drain()

    async def test_every_flipped_bit_is_a_miss(self, cached: CachedReads) -> None:
        await cached.stored()
        encoded = bytearray(await cached.entry())
        for position in range(4, len(encoded), max(1, len(encoded) // 20)):
            damaged = encoded.copy()
            damaged[position] ^= 1
            await cached.redis.set(KEY, bytes(damaged), px=LIFETIME_MS)

            assert (await cached.outcome(30))[0] is CacheOutcome.UNREADABLE
            await cached.source.drain()
