"""Cancels while connecting, bodies that end oddly, and connections and servers that go away."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database import engine as engine_module
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, OutcomeUnknown
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.testing.memory_folder import memory_folder
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.interruptions import assert_nothing_open, checked_out
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import MARK, Point, Side, WireProxy

_INSERT = f"INSERT INTO notes VALUES ($1, $2) {MARK}"


class _Interrupt(BaseException):
    """Like KeyboardInterrupt, which pytest would take for itself."""


_CONNECTIONS = f"""
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = '{SCHEDULER}'
"""
_Body = Callable[[ExtendedAsyncSAEngine], Awaitable[None]]


async def _write(engine: ExtendedAsyncSAEngine, number: int) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute(_INSERT, number, "words")


async def _read(engine: ExtendedAsyncSAEngine) -> list[int]:
    async with engine.begin_readonly_session() as db_sess:
        rows = await driver_connection(db_sess).fetch("SELECT id FROM notes ORDER BY id")
    return [row[0] for row in rows]


async def _read_in_time(engine: ExtendedAsyncSAEngine) -> list[int]:
    """Read through an engine whose bounds are shorter than a busy machine may take."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(DatabaseTimeout):
                return await _read(engine)


async def _assert_sound(engine: ExtendedAsyncSAEngine, database: Database) -> None:
    """Nothing was written but what this writes now, and both connections of the pool work."""
    assert checked_out(engine) == 0
    await asyncio.gather(_write(engine, 100), _write(engine, 101))
    assert await _read(engine) == [100, 101]
    assert checked_out(engine) == 0
    await assert_nothing_open(database)


async def _cancelled(call: "asyncio.Task[None]") -> None:
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


class TestCheckOut:
    @pytest.fixture
    def returned(self, engine: ExtendedAsyncSAEngine) -> asyncio.Event:
        """Set when the pool gets a connection back."""
        event = asyncio.Event()
        sa.event.listen(engine.sync_engine, "checkin", lambda *_: event.set())
        return event

    @pytest.mark.parametrize("side", Side)
    async def test_connection_being_made_is_finished_and_kept(
        self,
        engine: ExtendedAsyncSAEngine,
        proxy: WireProxy,
        notes_database: Database,
        side: Side,
        returned: asyncio.Event,
    ) -> None:
        hold = proxy.hold(Point.CONNECT, side)
        call = asyncio.create_task(_write(engine, 1))
        await hold.reached(call)

        await _cancelled(call)
        hold.release()
        async with asyncio.timeout(PATIENCE):
            await returned.wait()

        assert await _read(engine) == []
        assert proxy.connections == 1
        await _assert_sound(engine, notes_database)

    async def test_closing_waits_for_a_connection_that_is_made_for_nobody(
        self, proxy: WireProxy, notes_database: Database
    ) -> None:
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url)))
        hold = proxy.hold(Point.CONNECT, Side.ANSWER)
        call = asyncio.create_task(_write(engine, 1))
        await hold.reached(call)
        await _cancelled(call)

        closing = asyncio.create_task(engine.dispose())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not closing.done()
        hold.release()
        await closing

        assert checked_out(engine) == 0
        async with notes_database.driver_as(ADMIN) as admin, asyncio.timeout(PATIENCE):
            while await admin.fetchval(_CONNECTIONS):
                await admin.execute("SELECT pg_sleep(0.01)")

    async def test_waiting_for_a_free_connection(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        async with engine.begin_session(), engine.begin_session():
            waiting = [asyncio.create_task(_write(engine, number)) for number in range(20)]
            for _ in range(3):
                await asyncio.sleep(0)
            for call in waiting:
                await _cancelled(call)

        # Those that were cancelled still stand in the queue; they must hand on what they get.
        await asyncio.gather(*(_read(engine) for _ in range(20)))
        await _assert_sound(engine, notes_database)

    async def test_no_free_connection_in_time(self, proxy: WireProxy) -> None:
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=2, pool_timeout=0.5))
        async with engine.begin_session(), engine.begin_session():
            with pytest.raises(DatabaseTimeout, match="pool"):
                await _read(engine)

        assert await _read(engine) == []
        await engine.dispose()


async def _raise_in_body(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute(_INSERT, 1, "words")
        raise _Interrupt


async def _swallow_error_of_driver(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute(_INSERT, 1, "words")
        with contextlib.suppress(asyncpg.UniqueViolationError):
            await driver_connection(db_sess).execute(_INSERT, 1, "again")


async def _swallow_error_of_sqlalchemy(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute(_INSERT, 1, "words")
        with contextlib.suppress(sa.exc.IntegrityError):
            await db_sess.execute(sa.text("INSERT INTO notes VALUES (1, 'again')"))


async def _swallow_timeout(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute(_INSERT, 1, "words")
        with contextlib.suppress(TimeoutError):
            await driver_connection(db_sess).execute("SELECT pg_sleep(60)", timeout=0.05)


async def _swallow_error_in_readonly(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_readonly_session() as db_sess:
        with contextlib.suppress(asyncpg.ReadOnlySQLTransactionError):
            await driver_connection(db_sess).execute(_INSERT, 1, "words")


async def _leave_statement_running(engine: ExtendedAsyncSAEngine) -> None:
    async with asyncio.TaskGroup() as group, engine.begin_session() as db_sess:
        group.create_task(_end_of(driver_connection(db_sess), "SELECT pg_sleep(60)"))
        await asyncio.sleep(0)


async def _stay_idle(engine: ExtendedAsyncSAEngine) -> None:
    async with engine.begin_session() as db_sess:
        ended = asyncio.Event()
        driver = driver_connection(db_sess)
        await driver.execute("SET idle_in_transaction_session_timeout = 100")
        await driver.execute(_INSERT, 1, "words")
        driver.add_termination_listener(lambda _: ended.set())
        await ended.wait()


class TestBody:
    async def test_base_exception(self, engine: ExtendedAsyncSAEngine, notes_database: Database) -> None:
        with pytest.raises(_Interrupt):
            await _raise_in_body(engine)

        await _assert_sound(engine, notes_database)

    async def test_generator_that_is_closed(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        async def write_and_wait() -> AsyncGenerator[None, None]:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute(_INSERT, 1, "words")
                yield

        generator = write_and_wait()
        await anext(generator)
        await generator.aclose()

        await _assert_sound(engine, notes_database)

    @pytest.mark.parametrize(
        "body",
        [
            _swallow_error_of_driver,
            _swallow_error_of_sqlalchemy,
            _swallow_timeout,
            _swallow_error_in_readonly,
        ],
    )
    async def test_swallowed_error(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database, body: _Body
    ) -> None:
        with pytest.raises(DatabaseError, match="nothing was written"):
            await body(engine)

        await _assert_sound(engine, notes_database)

    async def test_statement_left_running(
        self, engine: ExtendedAsyncSAEngine, notes_database: Database
    ) -> None:
        with pytest.raises(ExceptionGroup) as failure:
            await _leave_statement_running(engine)

        assert failure.group_contains(DatabaseError)
        await _assert_sound(engine, notes_database)

    async def test_idle_for_too_long(self, engine: ExtendedAsyncSAEngine, notes_database: Database) -> None:
        with pytest.raises(DatabaseUnavailable):
            await _stay_idle(engine)

        await _assert_sound(engine, notes_database)


async def _end_of(driver: "asyncpg.Connection[asyncpg.Record]", statement: str) -> object:
    try:
        return await driver.execute(statement)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return error


class TestAbandonedStatement:
    @pytest.mark.parametrize(
        "statement", ["SELECT pg_sleep(60)", "SELECT * FROM notes WHERE id = 1 FOR UPDATE"]
    )
    async def test_server_ends_it_soon(self, notes_database: Database, statement: str) -> None:
        """Whoever cancels must not leave a statement behind that holds locks, or waits for one."""
        engine = create_engine(
            DatabaseSettings(url=SecretUrl(notes_database.url_as(SCHEDULER)), lock_timeout=60.0)
        )
        await _write(engine, 1)
        async with notes_database.connect_as(ADMIN) as locker:
            await locker.execute(sa.text("SELECT * FROM notes FOR UPDATE"))
            running = asyncio.Event()

            async def run() -> None:
                async with engine.begin_session() as db_sess:
                    running.set()
                    await driver_connection(db_sess).execute(statement)

            call = asyncio.create_task(run())
            await running.wait()
            async with notes_database.driver_as(ADMIN) as admin:
                active = (
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND state = 'active' AND query = $1"
                )
                async with asyncio.timeout(PATIENCE):
                    while not await admin.fetchval(active, statement):
                        await admin.execute("SELECT pg_sleep(0.01)")
                await _cancelled(call)
                async with asyncio.timeout(PATIENCE):
                    while await admin.fetchval(active, statement):
                        await admin.execute("SELECT pg_sleep(0.01)")
        await engine.dispose()


class TestRollback:
    """An error in the body is rolled back in one round trip; that must survive a cancel, and a hung server."""

    async def _fail(self, engine: ExtendedAsyncSAEngine) -> None:
        async with engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute(_INSERT, 1, "words")
            raise LookupError

    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize("cancels", [1, 3])
    async def test_cancelled_meanwhile(
        self,
        engine: ExtendedAsyncSAEngine,
        proxy: WireProxy,
        notes_database: Database,
        side: Side,
        cancels: int,
    ) -> None:
        hold = proxy.hold(Point.ROLLBACK, side)
        call = asyncio.create_task(self._fail(engine))
        await hold.reached(call)
        for _ in range(cancels):
            call.cancel()
            await asyncio.sleep(0)
        hold.release()

        with pytest.raises(asyncio.CancelledError):
            await call

        assert proxy.connections == 1
        await _assert_sound(engine, notes_database)

    @pytest.mark.parametrize("side", Side)
    async def test_hung(
        self,
        engine: ExtendedAsyncSAEngine,
        proxy: WireProxy,
        notes_database: Database,
        side: Side,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(engine_module, "_ROLLBACK_SECONDS", 0.2)
        hold = proxy.hold(Point.ROLLBACK, side)

        with pytest.raises(LookupError):
            async with asyncio.timeout(PATIENCE):
                await self._fail(engine)

        hold.release()
        await _assert_sound(engine, notes_database)

    @pytest.mark.parametrize("side", Side)
    async def test_dropped(
        self, engine: ExtendedAsyncSAEngine, proxy: WireProxy, notes_database: Database, side: Side
    ) -> None:
        hold = proxy.hold(Point.ROLLBACK, side)
        call = asyncio.create_task(self._fail(engine))
        await hold.reached(call)
        hold.drop()

        with pytest.raises(LookupError):
            await call

        await _assert_sound(engine, notes_database)


_POINTS = [Point.CONNECT, Point.BEGIN, Point.PREPARE, Point.FETCH, Point.COMMIT]


class TestLostConnection:
    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize("point", _POINTS)
    async def test_dropped(
        self,
        engine: ExtendedAsyncSAEngine,
        proxy: WireProxy,
        notes_database: Database,
        point: Point,
        side: Side,
    ) -> None:
        hold = proxy.hold(point, side)
        call = asyncio.create_task(_write(engine, 1))
        await hold.reached(call)
        hold.drop()

        with pytest.raises(DatabaseUnavailable):
            await call

        if point is Point.COMMIT and side is Side.ANSWER:
            assert await _read(engine) == [1]
        else:
            await _assert_sound(engine, notes_database)

    async def test_server_killed_in_a_fetch(
        self, engine: ExtendedAsyncSAEngine, proxy: WireProxy, notes_database: Database
    ) -> None:
        hold = proxy.hold(Point.FETCH, Side.REQUEST)
        call = asyncio.create_task(_write(engine, 1))
        await hold.reached(call)
        await notes_database.run_as(
            ADMIN,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            f"WHERE usename = '{SCHEDULER}' AND datname = current_database()",
        )
        hold.release()

        with pytest.raises(DatabaseUnavailable):
            await call

        await _assert_sound(engine, notes_database)

    @pytest.mark.parametrize("point", [Point.CONNECT, Point.BEGIN, Point.FETCH, Point.COMMIT])
    @pytest.mark.parametrize("side", Side)
    async def test_hung(self, proxy: WireProxy, point: Point, side: Side) -> None:
        """A server that never answers costs a call the bound of its statement, not more."""
        url = SecretUrl(proxy.url)
        engine = create_engine(DatabaseSettings(url=url, connect_timeout=0.25, statement_timeout=0.25))
        proxy.hold(point, side)

        with pytest.raises(OutcomeUnknown if point is Point.COMMIT else DatabaseTimeout):
            async with asyncio.timeout(PATIENCE / 2):
                await _write(engine, 1)

        assert await _read_in_time(engine) in ([], [1])
        assert checked_out(engine) == 0
        await engine.dispose()


class TestServer:
    @pytest.mark.slow
    @pytest.mark.parametrize("stop", ["fast", "immediate"])
    async def test_later_calls_work_when_it_is_back(self, stop: str) -> None:
        with EmbeddedPostgres(parent=memory_folder()) as server:
            engine = create_engine(DatabaseSettings(url=SecretUrl(server.url("postgres", "postgres"))))
            async with engine.begin_session() as db_sess, engine.begin_session():
                await driver_connection(db_sess).execute("CREATE TABLE notes (id int, words text)")
            await asyncio.to_thread(server.stop, "fast" if stop == "fast" else "immediate")

            with pytest.raises(DatabaseUnavailable):
                await _read(engine)

            await asyncio.to_thread(server.start)
            # Both connections of the pool were lost; neither may cost a caller an error now.
            assert await asyncio.gather(*(_read(engine) for _ in range(4))) == [[]] * 4
            await engine.dispose()
