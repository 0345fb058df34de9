"""Engines and caches behind proxies."""

from collections.abc import AsyncIterator, Iterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.embedded import EmbeddedValkey
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.faults.cached_reads import OTHER_GROUP, CachedReads, cached_reads
from tests.support.databases import SCHEDULER, Database
from tests.support.redis_proxy import RedisProxy, redis_proxied
from tests.support.rows import insert, insert_all
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import WireProxy, proxied


@pytest.fixture
async def proxy(notes_database: Database) -> AsyncIterator[WireProxy]:
    """A proxy before it."""
    async with proxied(notes_database.url_as(SCHEDULER)) as running:
        yield running


@pytest.fixture
async def engine(proxy: WireProxy) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine with two connections, by way of the proxy, whose bounds no test waits for."""
    settings = DatabaseSettings(
        url=SecretUrl(proxy.url),
        pool_size=2,
        pool_timeout=2 * PATIENCE,
        connect_timeout=2 * PATIENCE,
        statement_timeout=2 * PATIENCE,
        lock_timeout=2 * PATIENCE,
    )
    made = create_engine(settings)
    yield made
    await made.dispose()


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of the test's own, to stop, pause and fill."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
def cache_url(redis_url: str) -> str:
    """The server behind the cache; tests that break theirs put one of their own in its place."""
    return redis_url


@pytest.fixture
async def redis_proxy(cache_url: str) -> AsyncIterator[RedisProxy]:
    """A proxy before it."""
    async with redis_proxied(cache_url) as running:
        yield running


@pytest.fixture
async def cached(
    migrated_database: Database, cache_url: str, redis_proxy: RedisProxy
) -> AsyncIterator[CachedReads]:
    """A cluster of two groups, read by way of both proxies."""
    await insert_all(migrated_database)
    async with migrated_database.driver_as(SCHEDULER) as driver:
        await insert(driver, "scaling_groups", {"name": OTHER_GROUP})
    async with (
        proxied(migrated_database.url_as(SCHEDULER)) as sql_proxy,
        cached_reads(sql_proxy, redis_proxy.url, cache_url) as reads,
    ):
        yield reads
