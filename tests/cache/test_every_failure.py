"""Whatever happens to Redis or Valkey, a cached read gives the database's answer, and is counted."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from typing import Final

import msgspec
import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.cache.entry import Entry, build_entry, open_entry
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.embedded import EmbeddedValkey
from tests.cache.world import World
from tests.support.redis_proxy import Mode, RedisProxy

_ROUNDS: Final = 3


class Surroundings(msgspec.Struct, frozen=True):
    """What a failure is made of."""

    valkey: EmbeddedValkey
    proxy: RedisProxy
    redis: redis_asyncio.Redis


Failure = Callable[[Surroundings], Awaitable[None]]


async def gone(at: Surroundings) -> None:
    await asyncio.to_thread(at.valkey.stop)


async def hung(at: Surroundings) -> None:
    os.kill(at.valkey.pid, signal.SIGSTOP)


async def black_holed(at: Surroundings) -> None:
    at.proxy.mode = Mode.SWALLOW


async def cut_short(at: Surroundings) -> None:
    at.proxy.mode = Mode.CUT


async def locked(at: Surroundings) -> None:
    await at.redis.config_set("requirepass", "secret")
    await at.redis.client_kill_filter(skipme=True)


async def without_primary(at: Surroundings) -> None:
    await at.redis.config_set("replica-serve-stale-data", "no")
    await at.redis.replicaof("127.0.0.1", "1")


async def out_of_memory(at: Surroundings) -> None:
    await at.redis.flushall()
    await at.redis.config_set("maxmemory", "1")


async def read_only(at: Surroundings) -> None:
    await at.redis.flushall()
    await at.redis.replicaof("127.0.0.1", "1")


async def flushed(at: Surroundings) -> None:
    await at.redis.flushall()


@asynccontextmanager
async def failed(reader: World, at: Surroundings, fail: Failure) -> AsyncIterator[None]:
    """The failure, ended where the server could not be stopped otherwise; its answer is not waited for."""
    await fail(at)
    try:
        with reader.hurried() if fail in SILENT else nullcontext():
            yield
    finally:
        if fail is hung:
            os.kill(at.valkey.pid, signal.SIGCONT)
        at.proxy.mode = Mode.FORWARD


OPENING: Final[dict[Failure, CacheOutcome]] = dict.fromkeys(
    (gone, hung, black_holed, cut_short, locked, without_primary), CacheOutcome.UNREACHABLE
)
REFUSING: Final[dict[Failure, CacheOutcome]] = dict.fromkeys(
    (out_of_memory, read_only, flushed), CacheOutcome.ABSENT
)

# No answer comes: all others fail at once.
SILENT: Final = (hung, black_holed)

Bytes = Callable[[Surroundings, str, str], Awaitable[None]]


async def _rebuild(at: Surroundings, key: str, **changes: str) -> None:
    stored = await at.redis.get(key)
    assert isinstance(stored, bytes)
    entry = open_entry(stored)
    assert isinstance(entry, Entry)
    identity = msgspec.structs.replace(entry.header.identity, **changes)
    header = msgspec.structs.replace(entry.header, identity=identity)
    await at.redis.set(key, build_entry(header, bytes(entry.value)), keepttl=True)


async def other_version(at: Surroundings, key: str, _: str) -> None:
    await _rebuild(at, key, format_version="0" * 16)


async def future_version(at: Surroundings, key: str, _: str) -> None:
    entry = await at.redis.get(key)
    assert isinstance(entry, bytes)
    await at.redis.set(key, b"SRC\x03" + entry[4:], keepttl=True)


async def past_version(at: Surroundings, key: str, _: str) -> None:
    entry = await at.redis.get(key)
    assert isinstance(entry, bytes)
    await at.redis.set(key, b"SRC\x01" + entry[4:], keepttl=True)


async def other_key(at: Surroundings, key: str, other: str) -> None:
    await at.redis.copy(other, key, replace=True)


async def other_database(at: Surroundings, key: str, _: str) -> None:
    await _rebuild(at, key, database="1/1")


async def truncated(at: Surroundings, key: str, _: str) -> None:
    entry = await at.redis.get(key)
    assert isinstance(entry, bytes)
    await at.redis.set(key, entry[: len(entry) // 2], keepttl=True)


async def random_bytes(at: Surroundings, key: str, _: str) -> None:
    await at.redis.set(key, os.urandom(500), keepttl=True)


async def other_type(at: Surroundings, key: str, _: str) -> None:
    await at.redis.delete(key)
    await at.redis.rpush(key, b"one")


ODD_BYTES: Final[dict[Bytes, CacheOutcome]] = {
    other_version: CacheOutcome.OTHER_FORMAT,
    future_version: CacheOutcome.OTHER_FORMAT,
    past_version: CacheOutcome.OTHER_FORMAT,
    other_key: CacheOutcome.OTHER_KEY,
    other_database: CacheOutcome.OTHER_DATABASE,
    truncated: CacheOutcome.UNREADABLE,
    random_bytes: CacheOutcome.UNREADABLE,
    other_type: CacheOutcome.UNREADABLE,
}


class TestEveryFailure:
    @pytest.fixture
    async def at(
        self, valkey: EmbeddedValkey, own_proxy: RedisProxy, own_redis: redis_asyncio.Redis
    ) -> Surroundings:
        """What to break."""
        return Surroundings(valkey, own_proxy, own_redis)

    @pytest.mark.parametrize(
        ("fail", "expected"), (OPENING | REFUSING).items(), ids=lambda value: getattr(value, "__name__", "")
    )
    async def test_reads_are_the_databases_answer_and_a_cache_that_fails_is_not_asked_again(
        self, failing: World, at: Surroundings, fail: Failure, expected: CacheOutcome
    ) -> None:
        # Given entries that the database has left behind
        for each in failing.reads:
            await each.stored()
        await failing.change()
        truths = [await each.truth() for each in failing.reads]
        before = [each.counted(expected) for each in failing.reads]

        # When the cache fails and each is read for the first time
        async with failed(failing, at, fail):
            first = [await each.read() for each in failing.reads]
            counted = [each.counted(expected) for each in failing.reads]
            second = [await each.read() for each in failing.reads]
            for each in failing.reads:
                await each.source.drain()

        # Then it is the database's answer, as is the next, and counted
        assert first == second == truths
        assert [after - earlier for after, earlier in zip(counted, before, strict=True)] == [1, 1, 1]

        # When each is read though the cache would answer again
        for each in failing.reads:
            each.source.outcomes.clear()
            for _ in range(_ROUNDS):
                await each.read()

            # Then it is asked only where it had answered
            is_asked = CacheOutcome.BREAKER_OPEN not in each.source.outcomes
            assert is_asked == (fail in REFUSING)
            assert is_asked or each.source.outcomes == {CacheOutcome.BREAKER_OPEN: _ROUNDS}

    async def test_bytes_that_are_not_the_entry(self, failing: World, at: Surroundings) -> None:
        for put, expected in ODD_BYTES.items():
            for each in failing.reads:
                # Given odd bytes under the key
                await each.stored()
                await each.read_other()
                await put(at, each.key, each.other_key)
                await failing.change()
                before = each.counted(expected)

                # When it is read
                await each.stored()

                # Then the database answers, and the odd bytes make room for an entry
                assert each.counted(expected) - before == 1, put.__name__
                assert await each.stored() == await each.truth(), put.__name__
                each.source.outcomes.clear()
                assert await each.read() == await each.truth(), put.__name__
                assert each.source.outcomes == {CacheOutcome.HIT: 1}, put.__name__

    @pytest.mark.parametrize("fail", [out_of_memory, read_only], ids=lambda value: value.__name__)
    async def test_a_server_that_takes_no_writes_is_asked_on(
        self, failing: World, at: Surroundings, fail: Failure
    ) -> None:
        # Given a server that refuses to store anything
        await fail(at)
        before = [each.stores("failed") for each in failing.reads]

        # When each is read some times
        for each in failing.reads:
            for _ in range(3):
                await each.stored()

        # Then that is counted, and reads that find an entry would be answered by it
        assert [
            each.stores("failed") - earlier for each, earlier in zip(failing.reads, before, strict=True)
        ] == [
            3,
            3,
            3,
        ]
        for each in failing.reads:
            assert each.source.outcomes == {CacheOutcome.ABSENT: 3}
            assert not each.source.client.is_open
