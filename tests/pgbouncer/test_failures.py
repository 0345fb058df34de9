"""A PgBouncer that refuses, waits, stalls or dies, and statements that are given up behind it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.errors import DatabaseTimeout, DatabaseUnavailable, OutcomeUnknown
from tests.pgbouncer.bouncer import Bouncer
from tests.support.databases import ADMIN, SCHEDULER, Database
from tests.support.fixtures import MakeEngine
from tests.support.interruptions import assert_nothing_open
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Point, Side, proxied

_SLEEP = "SELECT pg_sleep(60)"


@pytest.fixture
def database_behind(notes: Database) -> Database:
    return notes


async def _write(engine: ExtendedAsyncSAEngine, number: int) -> None:
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute("INSERT INTO notes VALUES ($1, 'words')", number)


async def _ids(engine: ExtendedAsyncSAEngine) -> list[int]:
    async with engine.begin_readonly_session() as db_sess:
        rows = await driver_connection(db_sess).fetch("SELECT id FROM notes ORDER BY id")
    return [row["id"] for row in rows]


async def _ids_in_time(engine: ExtendedAsyncSAEngine) -> list[int]:
    """The same, asked again until there is an answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await _ids(engine)
            except (DatabaseUnavailable, DatabaseTimeout):
                await asyncio.sleep(0.01)


async def _runs(database: Database, statement: str) -> None:
    """Wait until the server runs a statement."""
    async with database.driver_as(ADMIN) as admin, asyncio.timeout(PATIENCE):
        while not await admin.fetchval(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND state = 'active' AND query = $1",
            statement,
        ):
            await admin.execute("SELECT pg_sleep(0.005)")


async def _hold(engine: ExtendedAsyncSAEngine, inside: asyncio.Event, leave: asyncio.Event) -> None:
    """Write within a transaction, and stay in it."""
    async with engine.begin_session() as db_sess:
        await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, 'words')")
        inside.set()
        await leave.wait()


class TestGivenUp:
    """Nothing that a caller gave up goes on behind the PgBouncer, and its server connections stay clean."""

    async def test_a_statement_that_takes_too_long(
        self, bouncer: Bouncer, make_engine: MakeEngine, notes: Database
    ) -> None:
        engine = make_engine(pool_size=2, statement_timeout=0.3)

        async def sleep() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, 'words')")
                await driver_connection(db_sess).execute(_SLEEP)

        with pytest.raises(DatabaseTimeout):
            await sleep()
        await assert_nothing_open(notes)
        patient = make_engine(pool_size=2)
        await _write(patient, 2)
        assert await _ids(patient) == [2]

    @pytest.mark.parametrize("statement", [_SLEEP, "SELECT * FROM notes WHERE id = 7 FOR UPDATE"])
    async def test_a_caller_that_is_cancelled(
        self, bouncer: Bouncer, make_engine: MakeEngine, notes: Database, statement: str
    ) -> None:
        engine = make_engine(pool_size=2, lock_timeout=60.0)
        await _write(engine, 7)

        async def run() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, 'words')")
                await driver_connection(db_sess).execute(statement)

        async with notes.driver_as(ADMIN) as locker, locker.transaction():
            await locker.execute("SELECT * FROM notes FOR UPDATE")
            call = asyncio.create_task(run())
            await _runs(notes, statement)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        await assert_nothing_open(notes)
        assert await _ids(engine) == [7]


class TestStalledAndKilled:
    async def test_a_stalled_one_holds_no_transaction_for_long(
        self, bouncer: Bouncer, make_engine: MakeEngine, notes: Database
    ) -> None:
        # Given a transaction that has written, when the PgBouncer stalls
        engine = make_engine(idle_in_transaction_timeout=2.0, statement_timeout=2.0)
        inside, leave = asyncio.Event(), asyncio.Event()
        call = asyncio.create_task(_hold(engine, inside, leave))
        await inside.wait()
        bouncer.stall()
        # Then the server ends the transaction by itself
        await assert_nothing_open(notes)
        # And the caller, whose COMMIT is never answered, is told that it cannot be known
        leave.set()
        with pytest.raises(OutcomeUnknown):
            await call
        assert engine.connections_in_use == 0

    @pytest.mark.parametrize("runs", [True, False])
    async def test_a_killed_one_leaves_nothing_open(
        self, bouncer: Bouncer, make_engine: MakeEngine, notes: Database, runs: bool
    ) -> None:
        # Given a transaction with a statement that runs, or without
        engine = make_engine()
        inside, leave = asyncio.Event(), asyncio.Event()

        async def work() -> None:
            async with engine.begin_session() as db_sess:
                await driver_connection(db_sess).execute("INSERT INTO notes VALUES (1, 'words')")
                inside.set()
                if runs:
                    await driver_connection(db_sess).execute(_SLEEP)
                await leave.wait()
                await driver_connection(db_sess).execute("SELECT 1")

        call = asyncio.create_task(work())
        await inside.wait()
        if runs:
            await _runs(notes, _SLEEP)
        # When the PgBouncer is killed
        bouncer.kill()
        leave.set()
        # Then the caller is told, nothing stays open, and the engine works when it is back
        with pytest.raises(DatabaseUnavailable):
            await call
        await assert_nothing_open(notes)
        with pytest.raises(DatabaseUnavailable):
            await _ids(engine)
        bouncer.start()
        await asyncio.gather(*(_write(engine, number) for number in range(2, 7)))
        assert await _ids(engine) == [2, 3, 4, 5, 6]


class TestRefusals:
    @pytest.fixture
    def leave(self) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        yield event
        event.set()

    async def _refused(
        self, holder: ExtendedAsyncSAEngine, leave: asyncio.Event, call: Callable[[], Awaitable[object]]
    ) -> None:
        """While one transaction is open, a call is told that the database cannot be had; later it can."""
        await _ids_in_time(holder)  # on a connection of the server's that may take its time
        inside = asyncio.Event()
        held = asyncio.create_task(_hold(holder, inside, leave))
        async with asyncio.timeout(PATIENCE):
            await inside.wait()
        with pytest.raises(DatabaseUnavailable) as caught:
            await call()
        assert type(caught.value) is DatabaseUnavailable
        leave.set()
        await held

    async def test_no_server_connection_in_time(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, notes: Database, leave: asyncio.Event
    ) -> None:
        idle_bouncer.start(default_pool_size=1, query_wait_timeout=0.5)
        engine = make_engine()
        await self._refused(engine, leave, lambda: _ids(engine))
        assert await _ids(engine) == [1]

    async def test_too_many_clients(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, notes: Database, leave: asyncio.Event
    ) -> None:
        idle_bouncer.start(max_client_conn=1)
        engine = make_engine()
        await self._refused(engine, leave, lambda: _ids(engine))
        assert await _ids(engine) == [1]

    async def test_no_server_behind_it(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, notes: Database
    ) -> None:
        # Given a server that refuses connections, then one that accepts them
        async with proxied(notes.url_as(SCHEDULER)) as server:
            server.refuses = True
            idle_bouncer.stand_before(server.url)
            idle_bouncer.start(server_login_retry=0.05)
            engine = make_engine(connect_timeout=0.5, statement_timeout=0.5)
            with pytest.raises((DatabaseUnavailable, DatabaseTimeout)):
                await _ids(engine)
            server.refuses = False
            # Then calls work again
            assert await _ids_in_time(engine) == []

    async def test_no_such_database(self, bouncer: Bouncer, make_engine: MakeEngine, notes: Database) -> None:
        engine = make_engine(bouncer.url_of(notes.url_as(SCHEDULER).replace(notes.name, "nowhere")))
        with pytest.raises(DatabaseUnavailable):
            await _ids(engine)


class TestLostServerConnection:
    @pytest.mark.parametrize(
        ("point", "side"),
        [(Point.BEGIN, Side.ANSWER), (Point.COMMIT, Side.REQUEST), (Point.COMMIT, Side.ANSWER)],
    )
    async def test_the_caller_is_told_what_is_known(
        self, idle_bouncer: Bouncer, make_engine: MakeEngine, notes: Database, point: Point, side: Side
    ) -> None:
        """Lost between the PgBouncer and the server, of which the PgBouncer has words of its own."""
        async with proxied(notes.url_as(SCHEDULER)) as server:
            idle_bouncer.stand_before(server.url)
            idle_bouncer.start()
            engine = make_engine()
            await _write(engine, 1)
            hold = server.hold(point, side)
            call = asyncio.create_task(_write(engine, 2))
            await hold.reached(call)
            hold.drop()
            with pytest.raises(OutcomeUnknown if point is Point.COMMIT else DatabaseUnavailable) as caught:
                await call
            assert isinstance(caught.value, OutcomeUnknown) is (point is Point.COMMIT)
            stands = point is Point.COMMIT and side is Side.ANSWER
            assert await _ids(engine) == ([1, 2] if stands else [1])
            await assert_nothing_open(notes)
