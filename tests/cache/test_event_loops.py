"""A cache in the wrong event loop or thread is unavailable, so that the database is asked; it never hangs."""

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any, Optional, TypeVar

import msgspec
import pytest

from scheduler_repo.cache.client import ValkeyClient, create_valkey_client
from scheduler_repo.cache.metrics import CacheName, CacheOutcome
from scheduler_repo.cache.source import CacheSource
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import CacheMisused, SchedulerRepoError, WrongEventLoop
from scheduler_repo.repositories.scaling_group.cache_source import ScalingGroupCacheSource
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.session.cache_source import SessionCacheSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from tests.cache.world import SESSION
from tests.support.databases import SCHEDULER, Database
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)

T = TypeVar("T")
Read = Callable[[], Awaitable[object]]


class Caches(msgspec.Struct, frozen=True):
    """Every cache, over one engine and one client."""

    engine: ExtendedAsyncSAEngine
    client: ValkeyClient
    sessions: SessionCacheSource
    groups: ScalingGroupCacheSource
    ticks: SchedulerCacheSource

    @property
    def sources(self) -> "tuple[CacheSource[Any], ...]":
        return self.sessions, self.groups, self.ticks

    @property
    def reads(self) -> dict[CacheName, Read]:
        reads: dict[CacheName, Read] = {
            CacheName.SESSION: lambda: self.sessions.get_session_by_id(SESSION),
            CacheName.SESSION_INFO: lambda: self.sessions.get_session_info(SESSION),
            CacheName.RESOURCE_TOTALS: lambda: self.groups.get_total_resource_slots(GROUP, 60),
            CacheName.SCHEDULING_DATA: lambda: self.ticks.get_scheduling_data(GROUP, 60),
        }
        assert set(reads) == set(CacheName)
        return reads

    @property
    def outcomes(self) -> dict[CacheName, dict[CacheOutcome, int]]:
        return {
            CacheName.SESSION: dict(self.sessions.outcomes),
            CacheName.SESSION_INFO: dict(self.sessions.info_outcomes),
            CacheName.RESOURCE_TOTALS: dict(self.groups.outcomes),
            CacheName.SCHEDULING_DATA: dict(self.ticks.outcomes),
        }

    async def drain(self) -> None:
        for source in self.sources:
            await source.drain()

    async def close(self) -> None:
        for source in self.sources:
            await source.aclose()


class Servers(msgspec.Struct, frozen=True):
    """Where the caches' servers are."""

    database: Database
    redis_url: str

    def client(self) -> ValkeyClient:
        return create_valkey_client(CacheSettings(url=SecretUrl(self.redis_url), timeout=PATIENCE))

    def caches(self, client: ValkeyClient) -> Caches:
        engine = create_engine(DatabaseSettings(url=SecretUrl(self.database.url_as(SCHEDULER))))
        return Caches(
            engine,
            client,
            SessionCacheSource(client, SessionDBSource(engine)),
            ScalingGroupCacheSource(client, ScalingGroupDBSource(engine)),
            SchedulerCacheSource(client, SchedulerDBSource(engine)),
        )

    @asynccontextmanager
    async def open_caches(self, client: ValkeyClient) -> AsyncIterator[Caches]:
        caches = self.caches(client)
        yield caches
        await caches.close()
        await caches.engine.dispose()


@pytest.fixture(autouse=True)
def sweep() -> Iterator[None]:
    """Connections whose loop was closed over them are closed by the collector, with a warning: here."""
    yield
    gc.collect()


@pytest.fixture
def servers(loaded: Database, redis_url: str) -> Servers:
    return Servers(loaded, redis_url)


async def elsewhere(work: Callable[[], Coroutine[None, None, T]]) -> T:
    """Run work in an event loop and a thread of its own; a hang is an error."""

    async def bounded() -> T:
        async with asyncio.timeout(PATIENCE):
            return await work()

    return await asyncio.to_thread(lambda: asyncio.run(bounded()))


async def outcome_of(read: Read) -> Optional[type[BaseException]]:
    try:
        await read()
    except SchedulerRepoError as error:
        return type(error)
    return None


def all_came_to(outcomes: dict[CacheOutcome, int]) -> dict[CacheName, dict[CacheOutcome, int]]:
    return dict.fromkeys(CacheName, outcomes)


class TestSharedClient:
    """One client for jobs with engines of their own, as a module's constant might hold it."""

    async def test_the_first_loop_has_it_and_the_others_do_without(
        self, servers: Servers, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = servers.client()
        seen: list[dict[CacheName, dict[CacheOutcome, int]]] = []

        async def job() -> None:
            async with servers.open_caches(client) as caches:
                for _ in range(2):
                    for read in caches.reads.values():
                        await read()
                    await caches.drain()
                await caches.sessions.sessions_changed([SESSION])
                seen.append(caches.outcomes)

        # when
        for _ in range(3):
            await elsewhere(job)
        # then
        assert seen[0] == all_came_to({CacheOutcome.ABSENT: 1, CacheOutcome.HIT: 1})
        warnings = [record.getMessage() for record in caplog.records if "failed" in record.getMessage()]
        assert len(warnings) == 2 * len(CacheName)
        assert all("make a client in each event loop and thread" in warning for warning in warnings)
        assert seen[1] == seen[2] == all_came_to({CacheOutcome.MISUSED: 2})

    async def test_a_thread_beside_the_first(self, servers: Servers) -> None:
        client = servers.client()
        async with servers.open_caches(client) as caches:
            for read in caches.reads.values():
                await read()
            await caches.drain()

            async def job() -> None:
                async with servers.open_caches(client) as others:
                    for read in others.reads.values():
                        await read()
                    others.sessions.sessions_may_have_changed([SESSION])
                    await others.drain()
                    assert others.outcomes == all_came_to({CacheOutcome.MISUSED: 1})

            # when
            await elsewhere(job)
            # then it is of use where it belongs
            for read in caches.reads.values():
                await read()
            assert caches.outcomes == all_came_to({CacheOutcome.ABSENT: 1, CacheOutcome.HIT: 1})
        await client.aclose()

    async def test_what_a_client_does_elsewhere_says_so(self, servers: Servers) -> None:
        client = servers.client()
        await client.clock()
        for misuse in (client.clock, client.recovered, client.aclose):
            with pytest.raises(CacheMisused, match="another event loop"):
                await elsewhere(misuse)
        # It was not closed by that.
        assert await client.clock() > 0
        await client.aclose()


class TestSharedSources:
    """Sources, and so an engine, that are kept from one event loop to the next."""

    async def test_every_read_says_so(self, servers: Servers) -> None:
        caches = servers.caches(servers.client())

        async def job() -> list[Optional[type[BaseException]]]:
            kinds = [await outcome_of(read) for read in caches.reads.values()]
            await caches.drain()
            return kinds

        assert await elsewhere(job) == [None] * len(CacheName)
        assert await elsewhere(job) == [WrongEventLoop] * len(CacheName)
        # And they can be closed, though their connections went with their loop.
        await elsewhere(caches.close)
        await elsewhere(caches.client.aclose)

    async def test_a_loop_that_was_closed_over_its_work(self, servers: Servers) -> None:
        """What it had begun never ends; nobody waits for it."""
        caches = servers.caches(servers.client())

        def abandon() -> None:
            loop = asyncio.new_event_loop()
            for read in caches.reads.values():
                loop.run_until_complete(read())
            loop.call_soon(caches.sessions.sessions_may_have_changed, [SESSION])
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

        await asyncio.to_thread(abandon)
        await elsewhere(caches.drain)
        await elsewhere(caches.close)
        await elsewhere(caches.client.aclose)

    async def test_a_loop_that_goes_on_beside(self, servers: Servers) -> None:
        caches = servers.caches(servers.client())
        # given work under way here
        for read in caches.reads.values():
            await read()
        caches.sessions.sessions_may_have_changed([SESSION])
        # when
        await elsewhere(caches.drain)
        kinds = [await elsewhere(lambda read=read: outcome_of(read)) for read in caches.reads.values()]  # type: ignore[misc]
        # then
        assert kinds == [WrongEventLoop] * len(CacheName)
        await caches.close()
        await caches.client.aclose()
        await caches.engine.dispose()
