"""An engine belongs to one event loop: every way to a connection says so at once from any other."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker

from scheduler_repo.connection import open_repositories
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.errors import EngineClosed, WrongEventLoop
from scheduler_repo.repositories.scaling_group.db_source import ScalingGroupDBSource
from scheduler_repo.repositories.scaling_group.repository import ScalingGroupRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database
from tests.support.waiting import PATIENCE

_ONE = sa.text("SELECT 1")

Use = Callable[[ExtendedAsyncSAEngine], Awaitable[object]]


async def _write(engine: ExtendedAsyncSAEngine) -> object:
    async with engine.begin_session() as db_sess:
        return await db_sess.scalar(_ONE)


async def _read(engine: ExtendedAsyncSAEngine) -> object:
    async with engine.begin_readonly_session() as db_sess:
        return await db_sess.scalar(_ONE)


async def _connect(engine: ExtendedAsyncSAEngine) -> object:
    async with engine.connect() as connection:
        return await connection.scalar(_ONE)


async def _begin(engine: ExtendedAsyncSAEngine) -> object:
    async with engine.begin() as connection:
        return await connection.scalar(_ONE)


async def _connect_with_options(engine: ExtendedAsyncSAEngine) -> object:
    async with engine.execution_options(logging_token="it").connect() as connection:
        return await connection.scalar(_ONE)


async def _connect_raw(engine: ExtendedAsyncSAEngine) -> object:
    connection = await engine.raw_connection()
    connection.close()
    return None


async def _open_session(engine: ExtendedAsyncSAEngine) -> object:
    async with AsyncSession(engine) as db_sess:
        return await db_sess.scalar(_ONE)


async def _make_session(engine: ExtendedAsyncSAEngine) -> object:
    async with async_sessionmaker(engine)() as db_sess:
        return await db_sess.scalar(_ONE)


async def _connect_by_hand(engine: ExtendedAsyncSAEngine) -> object:
    async with AsyncConnection(engine) as connection:
        return await connection.scalar(_ONE)


async def _call_repository(engine: ExtendedAsyncSAEngine) -> object:
    return await ScalingGroupRepository(ScalingGroupDBSource(engine)).list_scaling_groups()


async def _dispose(engine: ExtendedAsyncSAEngine) -> None:
    await engine.dispose()


WAYS: list[Use] = [
    _write,
    _read,
    _connect,
    _begin,
    _connect_with_options,
    _connect_raw,
    _open_session,
    _make_session,
    _connect_by_hand,
    _call_repository,
    _dispose,
]


def _run_elsewhere(engine: ExtendedAsyncSAEngine, use: Use) -> None:
    """Use the engine as a job of its own does: in a new event loop, which ends with it."""

    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await use(engine)

    asyncio.run(bounded())


class TestOtherEventLoop:
    @pytest.fixture
    async def engine(self, migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        settings = DatabaseSettings(url=SecretUrl(migrated_database.url_as(SCHEDULER)), pool_size=1)
        made = create_engine(settings)
        yield made
        await made.dispose()

    @pytest.mark.parametrize("use", WAYS)
    async def test_every_way_says_so_at_once(self, engine: ExtendedAsyncSAEngine, use: Use) -> None:
        # given an engine in use here, with all of its connections
        assert await _read(engine) == 1
        async with engine.begin_session() as db_sess:
            # when
            with pytest.raises(WrongEventLoop, match="each event loop and thread"):
                await asyncio.to_thread(_run_elsewhere, engine, use)
            # then nothing happened to it
            assert await db_sess.scalar(_ONE) == 1
        assert await _read(engine) == 1
        assert engine.connections_in_use == 0

    @pytest.mark.parametrize("use", WAYS)
    def test_one_run_after_the_other(self, migrated_database: Database, use: Use) -> None:
        """A module's engine and ``asyncio.run`` for each job."""
        url = SecretUrl(migrated_database.url_as(SCHEDULER))

        async def fail_to_connect(engine: ExtendedAsyncSAEngine) -> None:
            await _read(engine)
            # The connection is closed within its event loop; what is left behind would warn.
            async with engine.connect() as connection:
                await connection.invalidate()

        engine = create_engine(DatabaseSettings(url=url, pool_size=1))
        _run_elsewhere(engine, fail_to_connect)
        for _ in range(3):
            with pytest.raises(WrongEventLoop):
                _run_elsewhere(engine, use)

    def test_threads_that_begin_at_once(self, migrated_database: Database) -> None:
        url = SecretUrl(migrated_database.url_as(SCHEDULER))
        for _ in range(10):
            engine = create_engine(DatabaseSettings(url=url))
            start = threading.Barrier(4)
            ends: list[object] = []

            async def use(engine: ExtendedAsyncSAEngine, start: threading.Barrier = start) -> None:
                start.wait()
                await _read(engine)
                await engine.dispose()

            def run(engine: ExtendedAsyncSAEngine = engine, ends: list[object] = ends, use: Use = use) -> None:
                try:
                    _run_elsewhere(engine, use)
                    ends.append("served")
                except (WrongEventLoop, EngineClosed) as error:
                    ends.append(type(error))

            threads = [threading.Thread(target=run) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert "served" in ends
            assert len(ends) == 4

    async def test_repositories_of_another_loop(self, migrated_database: Database) -> None:
        async with open_repositories(migrated_database.url_as(SCHEDULER)) as repos:

            async def ask(_: ExtendedAsyncSAEngine) -> None:
                await repos.scaling_groups.list_scaling_groups()

            with pytest.raises(WrongEventLoop):
                await asyncio.to_thread(_run_elsewhere, repos.engine, ask)
            assert await repos.scaling_groups.list_scaling_groups() == ()
