"""The pools of living engines, as a scrape finds them."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Optional

import pytest
from prometheus_client import REGISTRY, CollectorRegistry

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.metrics.pools import PoolCollector, watch_pool
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database


class TestPools:
    @pytest.fixture
    def registry(self) -> CollectorRegistry:
        return CollectorRegistry()

    @pytest.fixture
    def collector(self, registry: CollectorRegistry) -> PoolCollector:
        collector = PoolCollector()
        registry.register(collector)
        return collector

    @pytest.fixture
    async def other_engine(self, fresh_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        made = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER)), pool_size=3))
        yield made
        await made.dispose()

    def figures(self, registry: CollectorRegistry, database: Database) -> list[Optional[float]]:
        """Size, in use, waiting."""
        names = ("size", "connections_in_use", "callers_waiting")
        labels = {"database": database.name}
        return [registry.get_sample_value(f"scheduler_repo_pool_{name}", labels) for name in names]

    async def test_in_use_and_waiting(
        self,
        engine: ExtendedAsyncSAEngine,
        collector: PoolCollector,
        registry: CollectorRegistry,
        fresh_database: Database,
    ) -> None:
        # given
        collector.watch(engine)
        assert self.figures(registry, fresh_database) == [2, 0, 0]

        async def wait() -> None:
            async with engine.begin_readonly_session():
                pass

        # when both connections are out, and three callers wait
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(engine.begin_readonly_session())
            callers = [asyncio.create_task(wait()) for _ in range(3)]
            await asyncio.sleep(0)
            # then
            assert self.figures(registry, fresh_database) == [2, 2, 3]
        await asyncio.gather(*callers)
        assert self.figures(registry, fresh_database) == [2, 0, 0]

    async def test_engines_of_one_database_are_added_up(
        self,
        engine: ExtendedAsyncSAEngine,
        other_engine: ExtendedAsyncSAEngine,
        collector: PoolCollector,
        registry: CollectorRegistry,
        fresh_database: Database,
    ) -> None:
        # given
        for each in (engine, other_engine, engine):
            collector.watch(each)
        # when
        async with engine.begin_readonly_session(), other_engine.begin_readonly_session():
            # then
            assert self.figures(registry, fresh_database) == [5, 2, 0]

    async def test_engine_that_is_gone(
        self, collector: PoolCollector, registry: CollectorRegistry, fresh_database: Database
    ) -> None:
        # given
        engine = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
        collector.watch(engine)
        assert self.figures(registry, fresh_database)[0] == 5
        # when
        await engine.dispose()
        del engine
        gc.collect()
        # then
        assert self.figures(registry, fresh_database) == [None, None, None]

    async def test_source_shows_its_engine(
        self, engine: ExtendedAsyncSAEngine, fresh_database: Database
    ) -> None:
        # when
        SchedulerDBSource(engine)
        watch_pool(engine)
        # then
        labels = {"database": fresh_database.name}
        assert REGISTRY.get_sample_value("scheduler_repo_pool_size", labels) == 2
