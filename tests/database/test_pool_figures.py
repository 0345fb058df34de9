"""What an engine says of its pool: its size, what is in use, and who waits for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import DatabaseTimeout
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database


class TestPoolFigures:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=2, pool_timeout=0.3))
        yield engine
        await engine.dispose()

    async def _enter(self, engine: ExtendedAsyncSAEngine) -> None:
        async with engine.begin_session():
            pass

    async def test_they_follow_what_is_taken_and_given_back(self, engine: ExtendedAsyncSAEngine) -> None:
        seen = [engine.connections_in_use]
        async with engine.begin_session():
            seen.append(engine.connections_in_use)
            async with engine.begin_readonly_session():
                seen.append(engine.connections_in_use)
        seen.append(engine.connections_in_use)
        assert (engine.pool_size, seen, engine.callers_waiting) == (2, [0, 1, 2, 0], 0)

    async def test_who_waits_is_counted_until_it_is_served_cancelled_or_gives_up(
        self, engine: ExtendedAsyncSAEngine
    ) -> None:
        # Given a pool that is used up, and three callers that wait
        async with engine.begin_session():
            async with engine.begin_session():
                calls = [asyncio.create_task(self._enter(engine)) for _ in range(3)]
                await asyncio.sleep(0)
                assert (engine.connections_in_use, engine.callers_waiting) == (2, 3)
                # When one is cancelled
                calls[0].cancel()
                await asyncio.wait(calls[:1])
                # Then it waits no more, though its place in the queue is not given up yet
                assert engine.callers_waiting == 2
            # When a connection is given back, they are served
            await asyncio.gather(*calls[1:])
            assert engine.callers_waiting == 0
            async with engine.begin_session():
                # When one waits for too long
                late = asyncio.create_task(self._enter(engine))
                await asyncio.sleep(0)
                assert engine.callers_waiting == 1
                with pytest.raises(DatabaseTimeout):
                    await late
                # Then it does not count either
                assert engine.callers_waiting == 0
        assert (engine.connections_in_use, engine.callers_waiting) == (0, 0)
