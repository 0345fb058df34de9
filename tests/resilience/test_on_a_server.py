"""Calls whose connection, transaction or server goes away, on a real PostgreSQL: what is retried, and told."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import DatabaseTimeout, DeadlineExceeded, OutcomeUnknown
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.resilience.layers import LayerType
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.resilience.policies.metrics import DomainType
from scheduler_repo.resilience.policies.retry import RetryArgs, RetryPolicy
from scheduler_repo.resilience.policies.timeout import call_deadline
from scheduler_repo.resilience.resilience import Resilience
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from tests.support.databases import SCHEDULER, Database, DriverConnection
from tests.support.figures import LayerFigures
from tests.support.interruptions import assert_nothing_open, checked_out
from tests.support.on_a_server import AGENT, TERMINATE, Raiser, raised
from tests.support.own_server import own_database
from tests.support.small_cluster import GROUP, history_of, place, session_id
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Point, Side, WireProxy

_READ = "get_scheduling_data"
_ALLOCATE = "allocate_sessions"
_READ_MARK = "FROM slot_types"


@pytest.fixture
def source_figures() -> LayerFigures:
    return LayerFigures(LayerType.SCHEDULER_DB_SOURCE, DomainType.REPOSITORY)


@pytest.fixture
def db_source(engine: ExtendedAsyncSAEngine) -> SchedulerDBSource:
    return SchedulerDBSource(engine)


class TestReads:
    @pytest.mark.parametrize("side", Side)
    async def test_connection_lost(
        self, db_source: SchedulerDBSource, proxy: WireProxy, source_figures: LayerFigures, side: Side
    ) -> None:
        # given
        retries = source_figures.retries(_READ)
        hold = proxy.hold(Point.FETCH, side, mark=_READ_MARK)
        call = asyncio.create_task(db_source.get_scheduling_data(GROUP))
        await hold.reached(call)
        # when
        hold.drop()
        timed = await call
        # then
        assert len(timed.data.pending_sessions) == 3
        assert source_figures.retries(_READ) - retries == 1
        assert source_figures.in_flight(_READ) == 0

    async def test_backend_terminated(
        self,
        db_source: SchedulerDBSource,
        proxy: WireProxy,
        source_figures: LayerFigures,
        admin_connection: DriverConnection,
    ) -> None:
        # given
        retries = source_figures.retries(_READ)
        hold = proxy.hold(Point.FETCH, Side.REQUEST, mark=_READ_MARK)
        call = asyncio.create_task(SchedulerRepository(db_source).get_scheduling_data(GROUP))
        await hold.reached(call)
        # when
        await admin_connection.execute(TERMINATE)
        hold.release()
        data = await call
        # then
        assert len(data.pending_sessions) == 3
        assert source_figures.retries(_READ) - retries == 1

    async def test_server_restarted(self) -> None:
        """Ten retries bridge a second; who wants to wait for longer surrounds the call by more."""
        # given
        patient = Resilience([RetryPolicy(RetryArgs(max_retries=300, retry_delay=0.05))])
        async with own_database({"fsync": "off"}) as (server, database):
            engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
            tried = asyncio.Event()

            @patient.apply(OperationKind.READ)
            async def count() -> int:
                tried.set()
                async with engine.begin_readonly_session() as db_sess:
                    return int(await driver_connection(db_sess).fetchval("SELECT count(*) FROM sessions"))

            assert await count() == 0
            await asyncio.to_thread(server.stop, "fast")
            tried.clear()
            # when
            call = asyncio.create_task(count())
            await tried.wait()
            await asyncio.to_thread(server.start)
            # then
            assert await call == 0
            await engine.dispose()

    async def test_bounds_that_were_used_up_are_not_waited_for_again(
        self, proxy: WireProxy, source_figures: LayerFigures
    ) -> None:
        # given
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), pool_size=1, pool_timeout=0.2))
        retries = source_figures.retries(_READ)
        async with engine.begin_session():
            # when no connection of the pool is free
            with pytest.raises(DatabaseTimeout, match="no connection of the pool"):
                await SchedulerDBSource(engine).get_scheduling_data(GROUP)
        await engine.dispose()
        # then
        assert source_figures.retries(_READ) == retries
        assert source_figures.errors(_READ, "DatabaseTimeout") >= 1

    async def test_statement_that_took_too_long_is_not_run_again(self, engine: ExtendedAsyncSAEngine) -> None:
        # given
        tries: list[int] = []

        @Resilience([RetryPolicy()]).apply(OperationKind.READ)
        async def sleep() -> None:
            tries.append(1)
            async with engine.begin_readonly_session() as db_sess:
                await driver_connection(db_sess).execute("SET LOCAL statement_timeout = 50")
                await driver_connection(db_sess).execute("SELECT pg_sleep(60)")

        # when
        with pytest.raises(DatabaseTimeout, match="57014"):
            await sleep()
        # then
        assert len(tries) == 1


class TestWrites:
    @pytest.fixture
    def raiser(self, engine: ExtendedAsyncSAEngine) -> Raiser:
        return Raiser(engine)

    @pytest.mark.parametrize("lost_at", ["FOR NO KEY UPDATE", "UPDATE sessions AS s", "SET result = $2"])
    @pytest.mark.parametrize("side", Side)
    async def test_connection_lost_before_commit(
        self,
        db_source: SchedulerDBSource,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        lost_at: str,
        side: Side,
    ) -> None:
        # given
        figures = LayerFigures(LayerType.SCHEDULER_REPOSITORY, DomainType.REPOSITORY)
        retries = figures.retries(_ALLOCATE)
        hold = proxy.hold(Point.FETCH, side, mark=lost_at)
        call = asyncio.create_task(SchedulerRepository(db_source).allocate_sessions(GROUP, [place(0, AGENT)]))
        await hold.reached(call)
        # when
        hold.drop()
        result = await call
        # then
        assert result.allocated == (session_id(0),)
        assert [entry[1] for entry in await history_of(owner_connection, 0)] == ["PENDING", "SCHEDULED"]
        assert figures.retries(_ALLOCATE) - retries == 1

    async def test_all_tries_are_under_one_operation_id(
        self, raiser: Raiser, proxy: WireProxy, owner_connection: DriverConnection, database: Database
    ) -> None:
        # given a write that loses its connection three times
        call = asyncio.create_task(raiser.raise_priority(0))
        for _ in range(3):
            hold = proxy.hold(Point.FETCH, Side.ANSWER)
            await hold.reached(call)
            hold.drop()
        # when
        await call
        # then
        stored = await owner_connection.fetchval("SELECT id FROM operations WHERE kind = 'raise_priority'")
        assert raiser.operation_ids.noted == [stored] * 4
        assert raiser.figures.retries("_raise_priority") == 3
        assert await raised(owner_connection) == [1, 0, 0]
        await assert_nothing_open(database)

    async def test_next_call_is_under_another(self, raiser: Raiser, owner_connection: DriverConnection) -> None:
        await raiser.raise_priority(0)
        await raiser.raise_priority(0)
        assert len(set(raiser.operation_ids.noted)) == 2
        assert await raised(owner_connection) == [2, 0, 0]

    async def test_deadlock(
        self, raiser: Raiser, owner_connection: DriverConnection, admin_connection: DriverConnection
    ) -> None:
        """Two writes that lock the same rows in opposite order both end, the one after the other."""
        # given
        await admin_connection.execute(
            f"ALTER ROLE {SCHEDULER} IN DATABASE {await admin_connection.fetchval('SELECT current_database()')}"
            " SET deadlock_timeout = '20ms'"
        )
        meeting = asyncio.Barrier(2)
        are_met = False

        async def meet() -> None:
            nonlocal are_met
            if not are_met:
                await meeting.wait()
                are_met = True

        # when
        await asyncio.gather(
            raiser.raise_priority(0, 1, between=meet), raiser.raise_priority(1, 0, between=meet)
        )
        # then
        assert await raised(owner_connection) == [2, 2, 0]
        assert raiser.figures.retries("_raise_priority") >= 1
        assert raiser.figures.ended("_raise_priority", True) == 2

    async def test_lost_commit_that_nobody_can_ask_after_is_not_repeated(
        self, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        # given a write whose COMMIT is lost, and a server that is away for longer than it is asked after
        engine = create_engine(DatabaseSettings(url=SecretUrl(proxy.url), resolve_timeout=0.2))
        raiser = Raiser(engine)
        hold = proxy.hold(Point.COMMIT, Side.ANSWER)
        call = asyncio.create_task(raiser.raise_priority(0))
        await hold.reached(call)
        proxy.refuses = True
        # when
        hold.drop()
        with pytest.raises(OutcomeUnknown):
            await call
        # then
        assert raiser.figures.retries("_raise_priority") == 0
        assert await raised(owner_connection) == [1, 0, 0]
        await engine.dispose()


class TestDeadline:
    @pytest.fixture
    async def slow_engine(self, proxy: WireProxy) -> AsyncIterator[ExtendedAsyncSAEngine]:
        """An engine whose own bounds are longer than the deadline of a test."""
        made = create_engine(
            DatabaseSettings(
                url=SecretUrl(proxy.url),
                pool_size=1,
                connect_timeout=2 * PATIENCE,
                statement_timeout=2 * PATIENCE,
            )
        )
        yield made
        await made.dispose()

    @pytest.mark.parametrize("point", [Point.CONNECT, Point.BEGIN, Point.FETCH, Point.COMMIT])
    async def test_bounds_a_read_on_a_hung_server(
        self, slow_engine: ExtendedAsyncSAEngine, proxy: WireProxy, point: Point
    ) -> None:
        # given
        repository = SchedulerRepository(SchedulerDBSource(slow_engine))
        hold = proxy.hold(point, Side.ANSWER, mark=_READ_MARK)
        # when
        with call_deadline(0.2), pytest.raises(DeadlineExceeded, match=f"{_READ} took longer .* of 0.2 s"):
            async with asyncio.timeout(PATIENCE):
                await repository.get_scheduling_data(GROUP)
        # then
        hold.release()
        assert len((await repository.get_scheduling_data(GROUP)).pending_sessions) == 3
        assert checked_out(slow_engine) == 0

    async def test_bounds_retries_on_a_server_that_is_away(
        self, slow_engine: ExtendedAsyncSAEngine, proxy: WireProxy
    ) -> None:
        # given
        repository = SchedulerRepository(SchedulerDBSource(slow_engine))
        proxy.refuses = True
        # when
        with (
            call_deadline(1.0),
            pytest.raises(DeadlineExceeded, match="the last try of it failed with: connection"),
        ):
            await repository.get_scheduling_data(GROUP)
        # then
        proxy.refuses = False
        assert len((await repository.get_scheduling_data(GROUP)).pending_sessions) == 3

    async def test_tells_under_which_id_a_write_is_asked_for_again(
        self, slow_engine: ExtendedAsyncSAEngine, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        # given a write whose COMMIT stands, and whose answer hangs
        repository = SchedulerRepository(SchedulerDBSource(slow_engine))
        await repository.get_scheduling_data(GROUP)  # on a connection that is there when the time begins
        hold = proxy.hold(Point.COMMIT, Side.ANSWER)
        # when
        with call_deadline(1.5), pytest.raises(DeadlineExceeded) as failure:
            await repository.allocate_sessions(GROUP, [place(0, AGENT)])
        hold.drop()
        # then
        stored = await owner_connection.fetchval("SELECT id FROM operations WHERE kind = 'allocate_sessions'")
        assert f"ask again under operation id {stored}" in str(failure.value)
        again = await repository.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=stored)
        assert again.allocated == (session_id(0),)
        assert len(await history_of(owner_connection, 0)) == 2
