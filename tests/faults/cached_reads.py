"""A cache source between two proxies, and what passes through them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Final

import redis.asyncio as redis_asyncio

from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient, create_redis
from scheduler_repo.cache.metrics import CacheOutcome
from scheduler_repo.database.engine import create_engine
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.support.waiting import PATIENCE, hurried
from tests.support.wire_proxy import WireProxy

GROUP: Final = ScalingGroupName("gpu")
OTHER_GROUP: Final = ScalingGroupName("other")
KEY: Final = f"scheduler_repo:scheduling_data:{GROUP}"
OTHER_KEY: Final = f"scheduler_repo:scheduling_data:{OTHER_GROUP}"
_ANY_AGE: Final = 1e9
# How long the breaker stays open, so that a test need not wait for it.
RECOVERY: Final = 0.2


class CachedReads:
    """One process's reads; ``redis`` goes straight to the server, past the proxy and the cache source."""

    def __init__(
        self,
        sql_proxy: WireProxy,
        db_source: SchedulerDBSource,
        source: SchedulerCacheSource,
        redis: "redis_asyncio.Redis",
    ) -> None:
        """Made by ``cached_reads``."""
        self.db_source = db_source
        self.source = source
        self.redis = redis
        self._sql_proxy = sql_proxy

    async def read(self, max_staleness: float, group: ScalingGroupName = GROUP) -> SchedulingData:
        """Read a group."""
        return (await self.source.get_scheduling_data(group, max_staleness)).data

    async def stored(self, group: ScalingGroupName = GROUP) -> SchedulingData:
        """Read from the database and wait until the answer is in the cache, in place of what is there."""
        await self.redis.delete(KEY if group == GROUP else OTHER_KEY)
        before = self.source.outcomes.copy()
        data = await self.read(_ANY_AGE, group)
        await self.source.drain()
        self.source.outcomes.clear()
        self.source.outcomes.update(before)
        return data

    async def entry(self) -> bytes:
        """What the server holds for GROUP."""
        encoded = await self.redis.get(KEY)
        assert isinstance(encoded, bytes)
        return encoded

    async def outcome(
        self, max_staleness: float, group: ScalingGroupName = GROUP
    ) -> tuple[CacheOutcome, SchedulingData, int]:
        """Read, and return what came of the look-up, the answer, and how many SQL statements ran for it."""
        before, statements = self.source.outcomes.copy(), self._sql_proxy.statements
        data = await self.read(max_staleness, group)
        (outcome,) = self.source.outcomes - before
        return outcome, data, self._sql_proxy.statements - statements

    async def recovered(self) -> None:
        """Wait until the breaker is closed again."""
        async with asyncio.timeout(PATIENCE):
            await self.source.client.recovered()

    def hurried(self, seconds: float = DEFAULT_TIMEOUT) -> AbstractContextManager[None]:
        """Meanwhile a look-up waits so long at most."""
        return hurried(self.source.client, seconds=seconds)


@asynccontextmanager
async def cached_reads(sql_proxy: WireProxy, cache_url: str, direct_url: str) -> AsyncIterator[CachedReads]:
    """Reads by way of a SQL proxy and the cache at ``cache_url``."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(sql_proxy.url), pool_timeout=PATIENCE))
    settings = CacheSettings(url=SecretUrl(cache_url), timeout=PATIENCE)
    client = ValkeyClient(create_redis(settings), timeout=settings.timeout, recovery=RECOVERY)
    direct = redis_asyncio.from_url(direct_url)
    db_source = SchedulerDBSource(engine)
    source = SchedulerCacheSource(client, db_source, lifetime=settings.lifetime)
    try:
        yield CachedReads(sql_proxy, db_source, source, direct)
        await source.drain()
    finally:
        await client.aclose()
        await direct.aclose()
        await engine.dispose()
