"""The three cached reads of one process, each with a client of its own, and ways past them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Final, Union

import msgspec
import redis.asyncio as redis_asyncio
from prometheus_client import REGISTRY

from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.entities.scaling_group import ResourceTotals
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import Session, SessionInfo
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretKey, SecretUrl
from tests.support.databases import OWNER, SCHEDULER, Database
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, cluster, session, session_id
from tests.support.waiting import PATIENCE, hurried
from tests.support.wire_proxy import WireProxy, proxied

STALENESS: Final = 30.0
SESSION: Final = session_id(1)
OTHER_SESSION: Final = session_id(2)
_SESSIONS: Final = (SESSION, OTHER_SESSION)
_GROUPS: Final = (GROUP, OTHER_GROUP)
# Long enough that no probe comes in between.
NO_RECOVERY: Final = 600.0
_EPOCH: Final = datetime.fromtimestamp(0, tz=UTC)

Value = Union[Session, SessionInfo, ResourceTotals, SchedulingData]
Source = Union[SessionCacheSource, ScalingGroupCacheSource, SchedulerCacheSource]


class CachedRead:
    """One read by way of the cache and past it; answers are compared without the instant they are true of."""

    def __init__(
        self,
        name: CacheName,
        source: Source,
        ids: tuple[object, object],
        read: Callable[[int], Awaitable[Value]],
        read_directly: Callable[[], Awaitable[Value]],
    ) -> None:
        """``read`` takes which of the two ids; ``read_directly`` is of the first."""
        self.name = name
        self.source = source
        self.key, self.other_key = (f"scheduler_repo:{name}:{each}" for each in ids)
        self._read = read
        self._read_directly = read_directly

    async def read(self) -> Value:
        """By way of the cache."""
        return _timeless(await self._read(0))

    async def read_other(self) -> None:
        """Something else by way of the cache."""
        await self._read(1)
        await self.source.drain()

    async def truth(self) -> Value:
        """From the database."""
        return _timeless(await self._read_directly())

    async def stored(self) -> Value:
        """By way of the cache, and waited until it is there."""
        value = await self.read()
        await self.source.drain()
        return value

    def counted(self, outcome: CacheOutcome) -> float:
        """How often the metric says that a look-up came to this."""
        return _sample("scheduler_repo_cache_lookup_count_total", cache=self.name, outcome=outcome)

    def stores(self, outcome: str) -> float:
        """How often the metric says that storing an answer came to this."""
        return _sample("scheduler_repo_cache_store_count_total", cache=self.name, outcome=outcome)


def _sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def _timeless(value: Value) -> Value:
    if isinstance(value, (Session, SessionInfo)):
        return value
    if isinstance(value, SchedulingData):
        token = msgspec.structs.replace(value.token, snapshot="")
        return msgspec.structs.replace(value, observed_at=_EPOCH, token=token)
    return msgspec.structs.replace(value, observed_at=_EPOCH)


class World:
    """One process: its engine, by way of a proxy that counts statements, and its cache sources."""

    def __init__(
        self,
        database: Database,
        sql_proxy: WireProxy,
        engine: ExtendedAsyncSAEngine,
        settings: CacheSettings,
        recovery: float,
    ) -> None:
        """Made by ``world``."""
        self.sql_proxy = sql_proxy
        self.engine = engine
        self.database = database
        self.clients = [
            ValkeyClient(create_redis(settings), timeout=settings.timeout, recovery=recovery) for _ in range(3)
        ]
        self.session_source = SessionDBSource(engine)
        self.group_source = ScalingGroupDBSource(engine)
        self.scheduler_source = SchedulerDBSource(engine)
        self.sessions = SessionCacheSource(self.clients[0], self.session_source)
        self.groups = ScalingGroupCacheSource(self.clients[1], self.group_source)
        self.ticks = SchedulerCacheSource(self.clients[2], self.scheduler_source)

        async def totals(which: int) -> Value:
            return await self.groups.get_total_resource_slots(_GROUPS[which], STALENESS)

        async def tick(which: int) -> Value:
            return (await self.ticks.get_scheduling_data(_GROUPS[which], STALENESS)).data

        async def true_tick() -> Value:
            return (await self.scheduler_source.get_scheduling_data(GROUP)).data

        async def info(which: int) -> Value:
            return await self.sessions.get_session_info(_SESSIONS[which])

        self.info_read = CachedRead(
            CacheName.SESSION_INFO,
            self.sessions,
            _SESSIONS,
            info,
            lambda: self.session_source.get_session_info(SESSION),
        )
        self.reads = (
            CachedRead(
                CacheName.SESSION,
                self.sessions,
                _SESSIONS,
                lambda which: self.sessions.get_session_by_id(_SESSIONS[which]),
                lambda: self.session_source.get_session_by_id(SESSION),
            ),
            CachedRead(
                CacheName.RESOURCE_TOTALS,
                self.groups,
                _GROUPS,
                totals,
                lambda: self.group_source.get_total_resource_slots(GROUP),
            ),
            CachedRead(CacheName.SCHEDULING_DATA, self.ticks, _GROUPS, tick, true_tick),
        )

    def hurried(self) -> AbstractContextManager[None]:
        """Meanwhile a look-up waits no longer than it does by default."""
        return hurried(*self.clients)

    async def change(self) -> None:
        """Change what all three reads answer, past all caches, as another program might."""
        await self.database.run_as(
            OWNER,
            f"UPDATE sessions SET priority = priority + 1 WHERE id = '{SESSION}';"
            "UPDATE agent_slots SET capacity = capacity + 1",
        )


@asynccontextmanager
async def world(
    database: Database,
    url: str,
    recovery: float = NO_RECOVERY,
    role: str = SCHEDULER,
    keys: tuple[SecretKey, ...] = (),
) -> AsyncIterator[World]:
    """A cluster with two agents and some sessions, read by way of a SQL proxy and the cache at ``url``."""
    async with proxied(database.url_as(role)) as sql_proxy:
        engine = create_engine(DatabaseSettings(url=SecretUrl(sql_proxy.url), pool_timeout=PATIENCE))
        settings = CacheSettings(url=SecretUrl(url), timeout=PATIENCE, signing_keys=keys)
        made = World(database, sql_proxy, engine, settings, recovery)
        try:
            yield made
        finally:
            for source in (made.sessions, made.groups, made.ticks):
                await source.aclose()
            for client in made.clients:
                await client.aclose()
            await engine.dispose()


async def load(engine: ExtendedAsyncSAEngine) -> None:
    """The cluster: sessions 1 to 20 wait in GROUP."""
    sessions = [session(number, 1) for number in range(1, 21)]
    await ClusterRepository(ClusterDBSource(engine)).load_cluster(
        cluster([agent("a"), agent("b"), agent("c", scaling_group=OTHER_GROUP)], sessions)
    )


@asynccontextmanager
async def direct(url: str) -> AsyncIterator["redis_asyncio.Redis"]:
    """A client past the sources, without their bounds."""
    client: redis_asyncio.Redis = redis_asyncio.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()
