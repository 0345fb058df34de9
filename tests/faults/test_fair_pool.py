"""A pool that is used up: first come, first served, and each wait has a bound."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from contextvars import ContextVar

import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import DatabaseTimeout, DatabaseUnavailable, EngineClosed
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import WireProxy, proxied

POOL_SIZE = 5
CALLERS = 200
ROUNDS = 5


@pytest.fixture
async def engine(notes_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine with five connections."""
    url = SecretUrl(notes_database.url_as(SCHEDULER))
    made = create_engine(DatabaseSettings(url=url, pool_size=POOL_SIZE, pool_timeout=60.0))
    yield made
    await made.dispose()


class TestCrowd:
    async def test_first_come_first_served(self, engine: ExtendedAsyncSAEngine) -> None:
        """Nobody who comes later is served before one who waits, but for those that are served at once."""
        # given a pool that is filled: whoever makes a connection is overtaken by those who have one
        async with AsyncExitStack() as stack:
            for _ in range(POOL_SIZE):
                await stack.enter_async_context(engine.begin_readonly_session())
        came: list[tuple[int, int]] = []
        served: list[tuple[int, int]] = []
        asking: ContextVar[tuple[int, int]] = ContextVar("asking")
        # Their BEGIN may come back in another order: a server process may have to wait for a processor.
        sa.event.listen(engine.sync_engine, "checkout", lambda *_: served.append(asking.get()))

        async def call(caller: int) -> None:
            for turn in range(ROUNDS):
                came.append((caller, turn))
                asking.set((caller, turn))
                async with engine.begin_readonly_session() as db_sess:
                    await driver_connection(db_sess).fetchval("SELECT 1")

        await asyncio.gather(*(call(caller) for caller in range(CALLERS)))

        place = {each: number for number, each in enumerate(came)}
        overtaken = [abs(place[each] - number) for number, each in enumerate(served)]
        assert len(served) == CALLERS * ROUNDS
        assert max(overtaken) <= POOL_SIZE

    async def test_cancelled_callers_leave_the_line(self, engine: ExtendedAsyncSAEngine) -> None:
        served: list[int] = []

        async def call(caller: int) -> None:
            async with engine.begin_session():
                served.append(caller)

        async with asyncio.TaskGroup() as group:
            holders = [engine.begin_session() for _ in range(POOL_SIZE)]
            for holder in holders:
                await holder.__aenter__()
            calls = [group.create_task(call(caller)) for caller in range(20)]
            await asyncio.sleep(0)
            for cancelled in calls[::2]:
                cancelled.cancel()
            await asyncio.wait(calls[::2])
            assert engine.callers_waiting == 10
            for holder in holders:
                await holder.__aexit__(None, None, None)

        assert sorted(served) == list(range(1, 20, 2))
        assert (engine.connections_in_use, engine.callers_waiting) == (0, 0)


class TestBound:
    async def test_wait_ends_in_time(self, notes_database: Database) -> None:
        url = SecretUrl(notes_database.url_as(SCHEDULER))
        engine = create_engine(DatabaseSettings(url=url, pool_size=1, pool_timeout=0.2))

        async def call() -> None:
            async with engine.begin_session():
                pass

        async with engine.begin_session():
            # One after the other they would take longer than this by far.
            async with asyncio.timeout(PATIENCE / 2):
                ends = await asyncio.gather(*(call() for _ in range(2 * CALLERS)), return_exceptions=True)
        assert {type(end) for end in ends} == {DatabaseTimeout}
        assert "pool_size" in str(ends[0])
        assert engine.callers_waiting == 0
        await call()
        await engine.dispose()

    async def test_one_who_cannot_connect_lets_the_next_one_try(self, notes_database: Database) -> None:
        """A server that refuses for a moment must not leave the line without anybody who tries."""
        async with proxied(notes_database.url_as(SCHEDULER)) as proxy:
            engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=1, pool_timeout=60.0))
            await self._refuse_half(engine, proxy)
            await engine.dispose()

    async def _refuse_half(self, engine: ExtendedAsyncSAEngine, proxy: WireProxy) -> None:
        async def call() -> None:
            async with engine.begin_session():
                pass

        proxy.refuses = True
        calls = [asyncio.create_task(call()) for _ in range(4)]
        await asyncio.wait(calls[:2])
        proxy.refuses = False
        async with asyncio.timeout(PATIENCE):
            ends = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(end) for end in ends[:2]] == [DatabaseUnavailable] * 2
        assert ends[3] is None

    async def test_line_of_a_closed_engine_ends(self, engine: ExtendedAsyncSAEngine) -> None:
        async def call() -> None:
            async with engine.begin_session():
                pass

        holders = [engine.begin_session() for _ in range(POOL_SIZE)]
        for holder in holders:
            await holder.__aenter__()
        calls = [asyncio.create_task(call()) for _ in range(20)]
        await asyncio.sleep(0)
        await engine.dispose()
        for holder in holders:
            await holder.__aexit__(None, None, None)

        ends = await asyncio.gather(*calls, return_exceptions=True)

        assert {type(end) for end in ends} == {EngineClosed}
