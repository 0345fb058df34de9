"""What was closed, or belongs to another event loop, says so at once; a cache in that state is not asked."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import TypeVar

import pytest
import sqlalchemy as sa

from scheduler_repo.cache.client import ValkeyClient, create_valkey_client
from scheduler_repo.cache.single_flight import SingleFlight
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import CacheMisused, DatabaseUnavailable, EngineClosed, WrongEventLoop
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database
from tests.support.waiting import PATIENCE

Result = TypeVar("Result")


async def in_a_thread(work: Callable[[], Coroutine[None, None, Result]]) -> Result:
    """Run ``work`` in an event loop of its own, beside this one."""
    return await asyncio.to_thread(lambda: asyncio.run(work()))


async def ask(engine: ExtendedAsyncSAEngine) -> int:
    """One statement."""
    async with engine.begin_readonly_session() as db_sess:
        answer = await db_sess.scalar(sa.text("SELECT 1"))
    assert isinstance(answer, int)
    return answer


class TestEngine:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    async def test_after_its_end(self, engine: ExtendedAsyncSAEngine) -> None:
        assert await ask(engine) == 1
        await engine.dispose()
        with pytest.raises(EngineClosed, match=r"was closed.*make another"):
            await ask(engine)
        with pytest.raises(EngineClosed):
            async with engine.begin_session():
                pass
        with pytest.raises(EngineClosed):
            engine.connect()
        await engine.dispose()
        assert engine.connections_in_use == 0

    async def test_what_runs_at_the_end_is_finished(self, engine: ExtendedAsyncSAEngine) -> None:
        async with engine.begin_readonly_session() as db_sess:
            await engine.dispose()
            connection = driver_connection(db_sess)
            assert await db_sess.scalar(sa.text("SELECT 1")) == 1
        assert connection.is_closed()

    async def test_in_another_thread(self, engine: ExtendedAsyncSAEngine) -> None:
        # given an engine that is used here
        assert await ask(engine) == 1
        # when another thread's event loop uses it, or ends it
        for misuse in (lambda: ask(engine), engine.dispose):
            with pytest.raises(WrongEventLoop, match=r"first used in another event loop.*in each event loop"):
                await in_a_thread(misuse)
        # then nothing happened to it
        assert engine.connections_in_use == 0
        assert await ask(engine) == 1

    async def test_after_its_event_loop_has_ended(self, unused_tcp_port: int) -> None:
        # given an engine that was used, in vain, in an event loop that is no more
        url = f"postgresql://somebody@127.0.0.1:{unused_tcp_port}/nothing"
        engine = create_engine(DatabaseSettings(url=SecretUrl(url)))
        with pytest.raises(DatabaseUnavailable):
            await in_a_thread(lambda: ask(engine))
        # then the next one cannot use it
        with pytest.raises(WrongEventLoop):
            await ask(engine)

    async def test_outside_of_any(self, engine: ExtendedAsyncSAEngine) -> None:
        with pytest.raises(WrongEventLoop, match=r"no event loop is running"):
            await asyncio.to_thread(engine.connect)

    async def test_a_forked_process_begins_anew(self, engine: ExtendedAsyncSAEngine) -> None:
        # given an engine that was used before the fork
        async with engine.connect() as connection:
            await connection.invalidate()
        # when the child, with an event loop of its own, leaves the parent's connections alone
        await engine.dispose(close=False)

        async def as_a_child() -> int:
            answer = await ask(engine)
            await engine.dispose()
            return answer

        # then it may use the engine
        assert await in_a_thread(as_a_child) == 1


class TestCacheClient:
    @pytest.fixture
    async def client(self, redis_url: str) -> AsyncIterator[ValkeyClient]:
        client = create_valkey_client(CacheSettings(url=SecretUrl(redis_url), timeout=PATIENCE))
        yield client
        await client.aclose()

    async def test_after_its_end(self, client: ValkeyClient) -> None:
        assert await client.clock() > 0
        await client.aclose()
        with pytest.raises(CacheMisused, match=r"was closed"):
            await client.clock()
        assert not client.is_open
        await client.aclose()

    async def test_in_another_thread(self, client: ValkeyClient) -> None:
        # given
        assert await client.clock() > 0
        # when
        with pytest.raises(CacheMisused, match=r"first used in another event loop"):
            await in_a_thread(client.clock)
        # then it says nothing of the server, and the rightful user goes on
        assert not client.is_open
        assert await client.clock() > 0


class TestSingleFlight:
    async def test_work_in_another_event_loop_is_not_waited_for(self) -> None:
        # given work that is under way here
        flights: SingleFlight[str] = SingleFlight()
        may_end = asyncio.Event()

        async def here() -> str:
            await may_end.wait()
            return "here"

        async def there() -> str:
            return threading.current_thread().name

        mine = asyncio.create_task(flights.run("key", here))
        await asyncio.sleep(0)
        # when another thread asks for the same
        theirs = await in_a_thread(lambda: flights.run("key", there))
        # then it has done the work itself, and ours goes on
        assert theirs not in ("here", threading.current_thread().name)
        may_end.set()
        assert await mine == "here"
