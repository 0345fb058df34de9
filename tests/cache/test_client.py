"""What the client of the caches makes of a server's behaviour, and what the metrics say of it."""

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis_asyncio
from prometheus_client import REGISTRY

from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.errors import BreakerOpen, CacheBusy, CacheRefused, CacheUnavailable, InvalidInput
from scheduler_repo.settings import CacheSettings, SecretUrl
from tests.support.waiting import PATIENCE, hurried


def _open_breakers() -> float:
    return REGISTRY.get_sample_value("scheduler_repo_cache_open_breakers") or 0.0


def _openings() -> float:
    return REGISTRY.get_sample_value("scheduler_repo_cache_breaker_opening_count_total") or 0.0


def _errors(operation: str, error_code: str) -> float:
    labels = {
        "domain": "valkey",
        "layer": "valkey_client",
        "operation": operation,
        "error_code": error_code,
    }
    return REGISTRY.get_sample_value("backendai_layer_operation_error_count_total", labels) or 0.0


class TestValkeyClient:
    @pytest.fixture
    async def client(self, valkey: EmbeddedValkey) -> AsyncIterator[ValkeyClient]:
        redis = create_redis(CacheSettings(url=SecretUrl(valkey.url), timeout=PATIENCE))
        made = ValkeyClient(redis, timeout=PATIENCE, recovery=0.1)
        yield made
        await made.aclose()

    async def test_a_failure_is_counted_and_ends(self, client: ValkeyClient, valkey: EmbeddedValkey) -> None:
        # Given a server that is gone
        gc.collect()
        open_before, openings, errors = _open_breakers(), _openings(), _errors("clock", "CacheUnavailable")
        await asyncio.to_thread(valkey.stop)

        # When it is asked
        with pytest.raises(CacheUnavailable, match="Redis cannot be reached: ConnectionError"):
            await client.clock()
        with pytest.raises(BreakerOpen):
            await client.clock()

        # Then the metrics say so
        assert (_open_breakers() - open_before, _openings() - openings) == (1, 1)
        assert _errors("clock", "CacheUnavailable") - errors == 1
        # and that it has passed
        await asyncio.to_thread(valkey.start)
        async with asyncio.timeout(PATIENCE):
            await client.recovered()
        assert _open_breakers() == open_before
        assert await client.clock() > 0

    async def test_a_client_that_is_dropped_is_not_counted_on(self, valkey: EmbeddedValkey) -> None:
        gc.collect()  # those that other tests have dropped
        open_before = _open_breakers()
        await asyncio.to_thread(valkey.stop)
        client = ValkeyClient(create_redis(CacheSettings(url=SecretUrl(valkey.url))), recovery=600)
        with pytest.raises(CacheUnavailable):
            await client.clock()
        assert _open_breakers() - open_before == 1

        await client.aclose()
        del client
        gc.collect()

        assert _open_breakers() == open_before

    async def test_a_refusal_says_nothing_against_the_server(
        self, client: ValkeyClient, own_redis: redis_asyncio.Redis
    ) -> None:
        await own_redis.config_set("maxmemory", "1")

        with pytest.raises(CacheRefused, match=r"Redis refused: .*memory"):
            await client.set_until("key", b"entry", 2**41)

        assert not client.is_open
        assert await client.get_with_clock("key") is not None

    async def test_the_lack_of_a_connection_is_told_apart(self, valkey: EmbeddedValkey) -> None:
        # Given one connection to a server that hangs
        redis = redis_asyncio.Redis.from_pool(
            redis_asyncio.BlockingConnectionPool.from_url(valkey.url, max_connections=1)
        )
        client = ValkeyClient(redis, timeout=PATIENCE, recovery=600)
        await client.clock()
        os.kill(valkey.pid, signal.SIGSTOP)

        # When two ask at once
        try:
            with hurried(client):
                errors = await asyncio.gather(client.clock(), client.clock(), return_exceptions=True)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)

        # Then the one that was asked by it found the server at fault, the other its own number
        assert [type(error) for error in errors] == [CacheUnavailable, CacheBusy]
        await client.aclose()

    async def test_a_value_of_another_type_is_no_entry(
        self, client: ValkeyClient, own_redis: redis_asyncio.Redis
    ) -> None:
        await own_redis.rpush("key", b"one")

        entry, clock_ms = await client.get_with_clock("key")

        assert entry == b""
        assert clock_ms > 0

    @pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), 1e9, True, "1"])
    async def test_a_time_that_is_none_is_refused(self, valkey: EmbeddedValkey, seconds: float) -> None:
        redis = create_redis(CacheSettings(url=SecretUrl(valkey.url)))

        with pytest.raises(InvalidInput, match="timeout"):
            ValkeyClient(redis, timeout=seconds)
