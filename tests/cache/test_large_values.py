"""A value of megabytes is written and read in pieces, and is never made of two."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.cache import large_values
from scheduler_repo.cache.client import Piece, ValkeyClient
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from tests.cache.world import CachedRead, World, world
from tests.support.databases import Database
from tests.support.small_cluster import GROUP

PIECE: Final = 64
STALENESS: Final = 30.0


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry of a few sessions has many pieces."""
    monkeypatch.setattr(large_values, "_PIECE_BYTES", PIECE)


@pytest.fixture
async def reader(loaded: Database, redis_url: str) -> AsyncIterator[World]:
    """A process that has opened nothing yet."""
    async with world(loaded, redis_url) as made:
        yield made


def read_of(process: World) -> CachedRead:
    (read,) = [each for each in process.reads if each.name is CacheName.SCHEDULING_DATA]
    return read


def interrupt(
    monkeypatch: pytest.MonkeyPatch, client: ValkeyClient, act: Callable[[], Awaitable[object]], times: int
) -> list[int]:
    """Act after a first piece was read, so often; return the list of where pieces were read from."""
    original, starts = client.get_piece, list[int]()

    async def get_piece(key: str, start: int, length: int) -> Piece:
        piece = await original(key, start, length)
        starts.append(start)
        # Not where it is looked whether another has stored one.
        if (start, length) == (0, PIECE) and starts.count(0) <= times:
            await act()
        return piece

    monkeypatch.setattr(client, "get_piece", get_piece)
    return starts


async def replace(process: World, redis: "redis_asyncio.Redis") -> None:
    """Have an entry gone and another stored in its place."""
    await redis.delete(read_of(process).key)
    await process.change()
    await read_of(process).stored()


class TestPieces:
    async def test_make_up_what_was_stored(
        self, process: World, reader: World, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        stored = await read_of(process).stored()
        assert await shared_redis.strlen(read_of(process).key) > 4 * PIECE
        assert await read_of(reader).read() == stored
        assert reader.ticks.outcomes == {CacheOutcome.HIT: 1}
        # Nothing is left of how it was stored.
        assert await shared_redis.keys("*") == [read_of(process).key.encode()]

    async def test_are_all_of_one_though_it_is_replaced_meanwhile(
        self,
        process: World,
        reader: World,
        shared_redis: "redis_asyncio.Redis",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await read_of(process).stored()

        starts = interrupt(monkeypatch, reader.ticks.client, partial(replace, process, shared_redis), 1)
        assert await read_of(reader).read() == await read_of(reader).truth()
        assert reader.ticks.outcomes == {CacheOutcome.HIT: 1}
        assert starts.count(0) == 2

    async def test_of_one_that_is_replaced_all_the_time_are_a_miss(
        self,
        process: World,
        reader: World,
        shared_redis: "redis_asyncio.Redis",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await read_of(process).stored()

        interrupt(monkeypatch, reader.ticks.client, partial(replace, process, shared_redis), 10)
        assert await read_of(reader).read() == await read_of(reader).truth()
        assert reader.ticks.outcomes == {CacheOutcome.BEING_FILLED: 1}

    async def test_of_one_that_ends_meanwhile_are_a_miss(
        self,
        process: World,
        reader: World,
        shared_redis: "redis_asyncio.Redis",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        await read_of(process).stored()
        key = read_of(process).key
        interrupt(monkeypatch, reader.ticks.client, lambda: shared_redis.delete(key), 1)
        assert await read_of(reader).read() == await read_of(reader).truth()
        assert reader.ticks.outcomes == {CacheOutcome.ABSENT: 1}

    async def test_of_more_than_is_ever_stored_are_not_fetched(
        self, reader: World, shared_redis: "redis_asyncio.Redis", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(large_values, "_LARGEST", 10 * PIECE)
        await shared_redis.set(read_of(reader).key, bytes(10 * PIECE + 1), px=60_000)
        starts = interrupt(monkeypatch, reader.ticks.client, shared_redis.ping, 0)
        await read_of(reader).read()
        assert reader.ticks.outcomes == {CacheOutcome.UNREADABLE: 1}
        assert [*starts] == [0]


class TestWhatWasOpened:
    async def test_is_not_fetched_again_while_it_is_there(
        self, process: World, reader: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await read_of(process).stored()
        first = (await reader.ticks.get_scheduling_data(GROUP, STALENESS)).data
        starts = interrupt(monkeypatch, reader.ticks.client, reader.ticks.drain, 0)
        second = (await reader.ticks.get_scheduling_data(GROUP, STALENESS)).data
        assert second is first
        assert starts == [0]
        assert reader.ticks.outcomes == {CacheOutcome.HIT: 2}

    async def test_is_a_miss_once_it_is_gone(
        self, process: World, reader: World, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        await read_of(process).stored()
        await read_of(reader).read()
        await shared_redis.delete(read_of(process).key)
        await process.change()
        assert await read_of(reader).read() == await read_of(reader).truth()
        assert reader.ticks.outcomes == {CacheOutcome.HIT: 1, CacheOutcome.ABSENT: 1}

    async def test_is_dropped_where_all_together_are_too_large(
        self, process: World, reader: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(large_values, "_MAX_OPENED_BYTES", 1)
        await read_of(process).stored()
        value = await read_of(reader).read()
        cache = reader.ticks._cache
        (opened,) = cache._opened.values()
        cache._remember("another", opened)
        assert list(cache._opened) == ["another"]
        assert await read_of(reader).read() == value
        assert list(cache._opened) == [read_of(reader).key]


class TestStoring:
    async def test_leaves_what_is_there_if_a_piece_is_lost(
        self,
        process: World,
        shared_redis: "redis_asyncio.Redis",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """As when a server that is short of memory gives a key up."""
        read, source = read_of(process), process.ticks
        original, before = source.client.append, read.stores("superseded")

        async def append(key: str, part: bytes, lasts_ms: int) -> None:
            await shared_redis.delete(key)
            await original(key, part, lasts_ms)

        monkeypatch.setattr(source.client, "append", append)
        await read.stored()
        assert read.stores("superseded") == before + 1
        assert not await shared_redis.keys("*")

    async def test_leaves_what_another_has_stored_meanwhile(
        self,
        process: World,
        other_process: World,
        shared_redis: "redis_asyncio.Redis",
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        read, source = read_of(process), process.ticks
        original, before = source.client.append, read.stores("superseded")

        async def append(key: str, part: bytes, lasts_ms: int) -> None:
            await original(key, part, lasts_ms)
            # Another one thinks that the turn has ended.
            await shared_redis.delete("scheduler_repo_storing:scheduling_data:" + GROUP)
            if not await shared_redis.exists(read.key):
                await read_of(other_process).stored()

        monkeypatch.setattr(source.client, "append", append)
        await read.stored()
        theirs = (await other_process.ticks.get_scheduling_data(GROUP, STALENESS)).data
        ours = (await source.get_scheduling_data(GROUP, STALENESS)).data
        assert ours.token == theirs.token
        assert read.stores("superseded") == before + 1

    async def test_is_not_done_by_who_allows_no_staleness(
        self, process: World, shared_redis: "redis_asyncio.Redis"
    ) -> None:
        await process.ticks.get_scheduling_data(GROUP)
        await process.ticks.drain()
        assert not await shared_redis.keys("*")

    async def test_of_too_much_is_refused(self, process: World, monkeypatch: pytest.MonkeyPatch) -> None:
        read = read_of(process)
        before = read.stores("failed")
        monkeypatch.setattr(large_values, "_LARGEST", PIECE)
        await read.stored()
        assert read.stores("failed") == before + 1


class TestWhatIsDistrusted:
    async def test_is_remembered_of_the_last_ones_alone(
        self, process: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(large_values, "_MAX_USELESS", 2)
        token = (await process.scheduler_source.get_scheduling_data(GROUP)).data.token
        cache = process.ticks._cache
        for name in ("a", "b", "a", "c"):
            cache.distrust(name, token)
        assert list(cache._useless) == [cache.build_key(name) for name in ("a", "c")]


class TestWhatIsTooOld:
    async def test_is_brought_up_to_date_by_what_has_changed(
        self, process: World, reader: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given
        await read_of(process).stored()
        await read_of(reader).read()
        sent = []
        for staleness in (1e-6, 1e-6, 0):
            await process.change()
            before = reader.sql_proxy.statements
            # when
            timed = await reader.ticks.get_scheduling_data(GROUP, staleness)
            sent.append(reader.sql_proxy.statements - before)
            # then
            truth = (await reader.scheduler_source.get_scheduling_data(GROUP)).data
            assert timed.data.pending_sessions == truth.pending_sessions
            assert timed.data.agents == truth.agents
        # What is sent the first time is prepared.
        assert sent[1] <= sent[2] / 2
