"""With Redis or Valkey down, hung or refusing, reads are slower, never wrong and never down."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

import pytest

from scheduler_repo.cache.client import create_redis
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_cache_source
from scheduler_repo.settings import CacheSettings, SecretUrl
from tests.faults.cached_reads import GROUP, KEY, OTHER_GROUP, CachedReads
from tests.support.redis_proxy import Mode, RedisProxy

_ALLOWED_DELAY: Final = 0.2
_UNDELAYED: Final = 0.05
_ROUNDS: Final = 9
_CONNECTIONS: Final = 16


@pytest.fixture
def cache_url(valkey: EmbeddedValkey) -> str:
    """That of a server which the test may stop, pause and fill."""
    return valkey.url


@contextmanager
def paused(valkey: EmbeddedValkey) -> Iterator[None]:
    """The server's process stopped, its sockets open."""
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(valkey.pid, signal.SIGCONT)


async def _settled(cached: CachedReads, redis_proxy: RedisProxy) -> None:
    redis_proxy.mode = Mode.FORWARD
    await cached.source.drain()
    await cached.recovered()
    await cached.redis.delete(KEY)


class TestDelay:
    """A look-up that fails, against one that finds no entry, in turns: both are answered by the database."""

    async def _delays(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode, max_staleness: float
    ) -> tuple[float, float]:
        sound, failing = [], []
        await cached.stored()
        for _ in range(_ROUNDS):
            await _settled(cached, redis_proxy)
            sound.append(await cached.seconds_of_read(max_staleness))
            await _settled(cached, redis_proxy)
            redis_proxy.mode = mode
            failing.append(await cached.seconds_of_read(max_staleness))
        redis_proxy.mode = Mode.FORWARD
        return median(failing) - median(sound), max(failing) - median(sound)

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_reader_that_allows_staleness(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        typical, _ = await self._delays(cached, redis_proxy, mode, 30)

        assert typical < _ALLOWED_DELAY

    @pytest.mark.slow
    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_reader_that_allows_none_is_not_delayed(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        typical, _ = await self._delays(cached, redis_proxy, mode, 0)

        assert typical < _UNDELAYED


class TestFailures:
    async def test_stopped(self, cached: CachedReads, valkey: EmbeddedValkey) -> None:
        stored = await cached.stored()
        await asyncio.to_thread(valkey.stop)

        outcome, data, statements = await cached.outcome(30)

        assert outcome is CacheOutcome.UNREACHABLE
        assert statements > 0
        assert data.pending_sessions == stored.pending_sessions
        await asyncio.to_thread(valkey.start)
        await cached.recovered()
        await cached.stored()
        assert (await cached.outcome(30))[0] is CacheOutcome.HIT

    @pytest.mark.slow
    async def test_paused_costs_one_look_up(self, cached: CachedReads, valkey: EmbeddedValkey) -> None:
        await cached.stored()
        sound = await cached.seconds_of_read(0)
        await cached.source.drain()
        with paused(valkey):
            first = await cached.seconds_of_read(30)
            further = [await cached.seconds_of_read(30) for _ in range(5)]
            for _ in range(5):
                assert await cached.seconds_of_read(0) < sound + _UNDELAYED
            await cached.source.drain()

        assert first < sound + _ALLOWED_DELAY
        assert median(further) < sound + _UNDELAYED
        assert cached.source.outcomes == {CacheOutcome.UNREACHABLE: 1, CacheOutcome.BREAKER_OPEN: 5}

    @pytest.mark.slow
    async def test_readers_at_once_wait_together(self, cached: CachedReads, valkey: EmbeddedValkey) -> None:
        """More of them than connections, over and over: none may stay taken. No two ask the same."""
        questions = [30.0 + number for number in range(50)]
        await cached.stored()
        for _ in range(3):
            cached.source.outcomes.clear()
            with paused(valkey):
                async with asyncio.timeout(3.0):
                    await asyncio.gather(*(cached.read(question) for question in questions))
                await cached.source.drain()
            assert cached.source.outcomes.total() == 50
            assert cached.source.outcomes[CacheOutcome.UNREACHABLE] >= _CONNECTIONS
            assert cached.source.outcomes.keys() <= {CacheOutcome.UNREACHABLE, CacheOutcome.BUSY}
            await cached.recovered()

        await cached.stored()
        cached.source.outcomes.clear()
        await asyncio.gather(*(cached.read(question) for question in questions))
        assert cached.source.outcomes == {CacheOutcome.HIT: 50}

    @pytest.mark.slow  # sixteen connections at once within 0.15 s: it wants the machine to itself
    async def test_no_reply_of_before_is_taken_for_a_later_one(
        self, cached: CachedReads, valkey: EmbeddedValkey
    ) -> None:
        """What timed out may still be answered; whoever asks next on that connection must not get it."""
        await cached.stored()
        await cached.stored(OTHER_GROUP)
        for _ in range(5):
            with paused(valkey):
                await asyncio.gather(
                    *(
                        cached.read(30.0 + turn // 2, group)
                        for turn, group in enumerate([GROUP, OTHER_GROUP] * 5)
                    )
                )
                await cached.source.drain()
            await cached.recovered()
            await cached.stored()
            await cached.stored(OTHER_GROUP)
            cached.source.outcomes.clear()

            groups = [OTHER_GROUP, GROUP] * (_CONNECTIONS // 2)
            answers = await asyncio.gather(
                *(cached.read(30.0 + turn // 2, group) for turn, group in enumerate(groups))
            )

            assert [answer.scaling_group.name for answer in answers] == groups
            assert cached.source.outcomes == {CacheOutcome.HIT: _CONNECTIONS}

    async def test_cancelled_look_ups_leave_no_reply_behind(self, cached: CachedReads) -> None:
        await cached.stored()
        await cached.stored(OTHER_GROUP)
        for turns in range(60):
            call = asyncio.create_task(cached.read(30, GROUP))
            for _ in range(turns % 12):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
            await cached.source.drain()
            cached.source.outcomes.clear()

            assert (await cached.read(30, OTHER_GROUP)).scaling_group.name == OTHER_GROUP
            assert cached.source.outcomes == {CacheOutcome.HIT: 1}

    async def test_write_that_waited_does_not_look_fresh(
        self, cached: CachedReads, valkey: EmbeddedValkey
    ) -> None:
        await cached.stored()
        with paused(valkey):
            await cached.read(0)
            await cached.source.drain()
            await asyncio.sleep(1.0)

        await cached.recovered()
        assert (await cached.outcome(0.9))[0] in (CacheOutcome.ABSENT, CacheOutcome.TOO_OLD)

    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_proxy_that_fails_is_forgotten_when_it_recovers(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        await cached.stored()
        redis_proxy.mode = mode

        assert (await cached.outcome(30))[0] is CacheOutcome.UNREACHABLE
        await cached.source.drain()

        assert (await cached.outcome(30))[0] is CacheOutcome.BREAKER_OPEN
        redis_proxy.mode = Mode.FORWARD
        await cached.recovered()
        assert (await cached.outcome(30))[0] is CacheOutcome.HIT

    @pytest.mark.usefixtures("valkey")
    async def test_server_that_takes_no_writes(self, cached: CachedReads) -> None:
        await cached.stored()
        await cached.redis.config_set("maxmemory", "1")

        kept = await cached.outcome(30)
        newest = await cached.stored()

        assert kept[0] is CacheOutcome.HIT
        assert newest.token.snapshot
        await cached.redis.delete(KEY)
        assert (await cached.outcome(30))[0] is CacheOutcome.ABSENT
        await cached.source.drain()
        assert not await cached.redis.exists(KEY)

    @pytest.mark.usefixtures("valkey")
    async def test_server_that_asks_for_a_password(self, cached: CachedReads) -> None:
        await cached.stored()
        await cached.redis.config_set("requirepass", "secret")
        await cached.redis.client_kill_filter(skipme=True)

        assert (await cached.outcome(30))[0] is CacheOutcome.UNREACHABLE
        assert (await cached.stored()).scaling_group.name == GROUP

    async def test_newest_answer_that_came_while_another_was_stored_is_stored(
        self, cached: CachedReads, redis_proxy: RedisProxy
    ) -> None:
        """The newest answer waits behind the one being stored; those between are dropped."""
        # A client that waits for as long as a busy machine takes for the reads meanwhile.
        settings = CacheSettings(url=SecretUrl(redis_proxy.url), timeout=30.0)
        source = create_cache_source(settings, cached.db_source)
        redis_proxy.mode = Mode.HOLD_SET
        await source.get_scheduling_data(GROUP)
        await redis_proxy.held.wait()
        older, newest = await source.get_scheduling_data(GROUP), await source.get_scheduling_data(GROUP)
        redis_proxy.mode = Mode.FORWARD
        redis_proxy.deliver.set()

        await source.drain()

        assert (await source.get_scheduling_data(GROUP, 30)).data == newest.data != older.data
        assert source.outcomes == {CacheOutcome.HIT: 1}
        await source.aclose()

    async def test_nothing_there(self, cached: CachedReads, tmp_path: Path) -> None:
        redis = create_redis(CacheSettings(url=SecretUrl(f"unix://{tmp_path}/nothing.sock")))
        source = SchedulerCacheSource(redis, cached.db_source)

        timed = await source.get_scheduling_data(GROUP, 30)
        await source.drain()

        assert timed.data.scaling_group.name == GROUP
        assert source.outcomes == {CacheOutcome.UNREACHABLE: 1}
        await redis.aclose()
