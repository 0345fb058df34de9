"""What the constructor of every cache source takes, refuses, owns and closes."""

from collections.abc import AsyncIterator
from typing import Any, Final, cast

import pytest

from scheduler_repo.cache.client import ValkeyClient, create_redis, create_valkey_client
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import CacheMisused, InvalidInput, InvalidWiring
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from tests.cache.world import SESSION, World
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

SOURCES: Final[tuple[type[CacheSource[Any]], ...]] = (
    SessionCacheSource,
    ScalingGroupCacheSource,
    SchedulerCacheSource,
)


@pytest.fixture
def settings(redis_url: str) -> CacheSettings:
    return CacheSettings(url=SecretUrl(redis_url), timeout=PATIENCE)


@pytest.fixture
async def engine() -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine that connects to nothing."""
    made = create_engine(DatabaseSettings(url=SecretUrl("postgresql://nobody@127.0.0.1:1/none")))
    yield made
    await made.dispose()


@pytest.mark.parametrize("source", SOURCES)
class TestConstructor:
    @pytest.mark.parametrize("redis", ["redis://127.0.0.1", None, ValkeyClient])
    def test_what_is_no_client_is_refused(
        self, source: type[CacheSource[Any]], engine: ExtendedAsyncSAEngine, redis: object
    ) -> None:
        with pytest.raises(InvalidWiring, match=r"redis is .* it must be a Redis; give create"):
            source(cast(ValkeyClient, redis), source.source_type(engine))

    async def test_settings_are_refused(
        self, source: type[CacheSource[Any]], engine: ExtendedAsyncSAEngine, settings: CacheSettings
    ) -> None:
        with pytest.raises(InvalidWiring, match="redis is a CacheSettings"):
            source(cast(ValkeyClient, settings), source.source_type(engine))

    async def test_what_is_no_database_source_is_refused(
        self, source: type[CacheSource[Any]], engine: ExtendedAsyncSAEngine, settings: CacheSettings
    ) -> None:
        client = create_valkey_client(settings)
        for given in (engine, source.source_type, None):
            with pytest.raises(InvalidWiring, match=rf"give {source.source_type.__name__}\(engine\)"):
                source(client, given)
        await client.aclose()

    @pytest.mark.parametrize("times", [{"timeout": 0.0}, {"lifetime": 0.0}, {"lifetime": float("nan")}])
    async def test_times_out_of_range_are_refused(
        self,
        source: type[CacheSource[Any]],
        engine: ExtendedAsyncSAEngine,
        settings: CacheSettings,
        times: dict[str, float],
    ) -> None:
        with pytest.raises(InvalidInput, match="|".join(times)):
            source(create_redis(settings), source.source_type(engine), **times)

    async def test_an_own_client_is_closed_and_a_shared_one_is_not(
        self, source: type[CacheSource[Any]], engine: ExtendedAsyncSAEngine, settings: CacheSettings
    ) -> None:
        shared = create_valkey_client(settings)
        await source(shared, source.source_type(engine)).aclose()
        assert await shared.clock() > 0
        await shared.aclose()

        owner = source(create_redis(settings), source.source_type(engine))
        assert await owner.client.clock() > 0
        await owner.aclose()
        with pytest.raises(CacheMisused):
            await owner.client.clock()


class TestSharedClient:
    async def test_three_sources_behind_one_breaker(self, process: World, settings: CacheSettings) -> None:
        # Given three sources that share a client
        client = create_valkey_client(settings)
        sessions = SessionCacheSource(client, process.session_source)
        groups = ScalingGroupCacheSource(client, process.group_source)
        ticks = SchedulerCacheSource(client, process.scheduler_source)

        # When each is read, stored and read again
        for _ in range(2):
            await sessions.get_session_by_id(SESSION)
            await groups.get_total_resource_slots(GROUP, 30)
            await ticks.get_scheduling_data(GROUP, 30)
            for source in (sessions, groups, ticks):
                await source.drain()

        # Then each has its own entry, and one breaker watches the server
        assert [source.outcomes for source in (sessions, groups, ticks)] == [{"absent": 1, "hit": 1}] * 3
        assert {source.client.breaker for source in (sessions, groups, ticks)} == {client.breaker}
        for source in (sessions, groups, ticks):
            await source.aclose()
        await client.aclose()
