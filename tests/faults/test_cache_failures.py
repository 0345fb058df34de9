"""With Redis or Valkey down, hung or refusing, reads are slower, never wrong and never down."""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from scheduler_repo.cache.client import create_redis
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource, create_cache_source
from scheduler_repo.settings import CacheSettings, SecretUrl
from tests.faults.cached_reads import GROUP, KEY, OTHER_GROUP, CachedReads
from tests.support.redis_proxy import Mode, RedisProxy
from tests.support.waiting import PATIENCE

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


class TestDelay:
    """How long a cache that fails is waited for."""

    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_no_longer_than_its_bound(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        stored = await cached.stored()
        redis_proxy.mode = mode

        with cached.hurried():
            async with asyncio.timeout(PATIENCE / 2):
                outcome, data, _ = await cached.outcome(30)

        assert outcome is CacheOutcome.UNREACHABLE
        assert data.pending_sessions == stored.pending_sessions

    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_not_at_all_by_who_allows_no_staleness(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        stored = await cached.stored()
        redis_proxy.mode = mode

        async with asyncio.timeout(PATIENCE / 2):
            data = await cached.read(0)

        assert data.pending_sessions == stored.pending_sessions
        assert not cached.source.outcomes
        redis_proxy.mode = Mode.FORWARD
        with cached.hurried():
            await cached.source.drain()


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

    async def test_paused_costs_one_look_up(self, cached: CachedReads, valkey: EmbeddedValkey) -> None:
        await cached.stored()
        with paused(valkey):
            with cached.hurried():
                await cached.read(30)
            # These wait for nothing, else they would for as long as a sound cache may take.
            async with asyncio.timeout(PATIENCE / 2):
                for _ in range(5):
                    await cached.read(30)
                    await cached.read(0)
            await cached.source.drain()

        assert cached.source.outcomes == {CacheOutcome.UNREACHABLE: 1, CacheOutcome.BREAKER_OPEN: 5}

    @pytest.mark.slow
    async def test_readers_at_once_wait_together(
        self, cached: CachedReads, redis_proxy: RedisProxy, valkey: EmbeddedValkey
    ) -> None:
        """More of them than connections, over and over: none may stay taken. No two ask the same."""
        await cached.stored()
        # Long enough for all to have asked before the first of them gives up.
        source = create_cache_source(
            CacheSettings(url=SecretUrl(redis_proxy.url), timeout=2.0), cached.db_source
        )

        async def ask_all() -> dict[CacheOutcome, int]:
            source.outcomes.clear()
            await asyncio.gather(*(source.get_scheduling_data(GROUP, 100.0 + number) for number in range(50)))
            await source.drain()
            return dict(source.outcomes)

        for _ in range(3):
            with paused(valkey):
                async with asyncio.timeout(PATIENCE / 2):
                    outcomes = await ask_all()
            assert sum(outcomes.values()) == 50
            assert outcomes[CacheOutcome.UNREACHABLE] >= _CONNECTIONS
            assert outcomes.keys() <= {CacheOutcome.UNREACHABLE, CacheOutcome.BUSY}
            async with asyncio.timeout(PATIENCE):
                await source.client.recovered()

        await source.get_scheduling_data(GROUP, 0)
        await source.drain()
        assert await ask_all() == {CacheOutcome.HIT: 50}
        await source.aclose()

    async def test_no_reply_of_before_is_taken_for_a_later_one(
        self, cached: CachedReads, valkey: EmbeddedValkey
    ) -> None:
        """What timed out may still be answered; whoever asks next on that connection must not get it."""
        await cached.stored()
        await cached.stored(OTHER_GROUP)
        for _ in range(5):
            with paused(valkey), cached.hurried():
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
        with paused(valkey), cached.hurried():
            await cached.read(0)
            await cached.source.drain()
            await asyncio.sleep(0.3)

        await cached.recovered()
        assert (await cached.outcome(0.25))[0] in (CacheOutcome.ABSENT, CacheOutcome.TOO_OLD)

    @pytest.mark.parametrize("mode", [Mode.SWALLOW, Mode.CUT])
    async def test_proxy_that_fails_is_forgotten_when_it_recovers(
        self, cached: CachedReads, redis_proxy: RedisProxy, mode: Mode
    ) -> None:
        await cached.stored()
        redis_proxy.mode = mode

        with cached.hurried():
            assert (await cached.outcome(30))[0] is CacheOutcome.UNREACHABLE
            await cached.source.drain()
            # Nor does a probe get an answer, short as it would be.
            redis_proxy.mode = Mode.SWALLOW

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
        settings = CacheSettings(url=SecretUrl(redis_proxy.url), timeout=PATIENCE)
        source = create_cache_source(settings, cached.db_source)
        redis_proxy.mode = Mode.HOLD_SET
        await source.get_scheduling_data(GROUP, 30)
        await redis_proxy.held.wait()
        older, newest = [await source.get_scheduling_data(GROUP, 30) for _ in range(2)]
        redis_proxy.mode = Mode.FORWARD
        redis_proxy.deliver.set()

        await source.drain()

        assert (await source.get_scheduling_data(GROUP, 30)).data == newest.data != older.data
        assert source.outcomes == {CacheOutcome.ABSENT: 3, CacheOutcome.HIT: 1}
        await source.aclose()

    async def test_nothing_there(self, cached: CachedReads, tmp_path: Path) -> None:
        redis = create_redis(CacheSettings(url=SecretUrl(f"unix://{tmp_path}/nothing.sock")))
        source = SchedulerCacheSource(redis, cached.db_source)

        timed = await source.get_scheduling_data(GROUP, 30)
        await source.drain()

        assert timed.data.scaling_group.name == GROUP
        assert source.outcomes == {CacheOutcome.UNREACHABLE: 1}
        await redis.aclose()
