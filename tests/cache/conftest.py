"""A loaded database, and a Valkey of the test's own."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis_asyncio

from scheduler_repo.embedded import EmbeddedValkey
from tests.cache.world import World, direct, load, world
from tests.support.databases import Database
from tests.support.redis_proxy import RedisProxy, redis_proxied
from tests.support.shared_databases import SharedDatabase


@pytest.fixture
async def loaded(shared_database: SharedDatabase) -> Database:
    """A database with a small cluster."""
    await load(shared_database.engine)
    return shared_database.database


@pytest.fixture
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey to stop, pause and fill."""
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture
async def own_redis(valkey: EmbeddedValkey) -> AsyncIterator["redis_asyncio.Redis"]:
    """A client of it, past all proxies and sources."""
    async with direct(valkey.url) as client:
        yield client


@pytest.fixture
async def own_proxy(valkey: EmbeddedValkey) -> AsyncIterator[RedisProxy]:
    """A proxy before it."""
    async with redis_proxied(valkey.url) as running:
        yield running


@pytest.fixture
async def failing(loaded: Database, own_proxy: RedisProxy) -> AsyncIterator[World]:
    """Reads by way of the proxy; a breaker that opens stays open."""
    async with world(loaded, own_proxy.url) as made:
        yield made


@pytest.fixture
async def shared_redis(redis_url: str) -> AsyncIterator["redis_asyncio.Redis"]:
    """A client of the server that all tests share, past all sources."""
    async with direct(redis_url) as client:
        yield client


@pytest.fixture
async def process(loaded: Database, redis_url: str) -> AsyncIterator[World]:
    """One process."""
    async with world(loaded, redis_url) as made:
        yield made


@pytest.fixture
async def other_process(loaded: Database, redis_url: str) -> AsyncIterator[World]:
    """Another one, with the same database and cache."""
    async with world(loaded, redis_url) as made:
        yield made
