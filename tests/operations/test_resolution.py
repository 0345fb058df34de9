"""What a write does while nobody can say yet whether its lost COMMIT stands."""

import asyncio
from uuid import uuid4

import pytest

from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.entities.allocation import AllocationResult
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.resilience.layers import LayerType
from scheduler_repo.resilience.policies.metrics import DomainType
from scheduler_repo.types import OperationId
from tests.support.databases import ADMIN, SCHEDULER, Database, DriverConnection
from tests.support.figures import LayerFigures
from tests.support.fixtures import MakeEngine
from tests.support.on_a_server import AGENT, ALLOCATED, TERMINATE, count_operations
from tests.support.small_cluster import GROUP, history_of, place, session_id, status_of
from tests.support.waiting import PATIENCE
from tests.support.wire_proxy import Hold, Point, Side, WireProxy

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO operations%'
"""
_WRITERS = """
SELECT DISTINCT xmin::text::bigint AS xid FROM session_history WHERE to_status = 'SCHEDULED'
"""
_OPEN = """
SELECT backend_xid::text::bigint FROM pg_stat_activity
WHERE datname = current_database() AND state = 'idle in transaction'
"""
_END = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid::text::bigint = $1
"""


async def lose_commit(proxy: WireProxy, call: "asyncio.Task[AllocationResult]", side: Side) -> None:
    """Cut the call's connection at COMMIT, and let no other be made for now."""
    hold = proxy.hold(Point.COMMIT, side)
    await hold.reached(call)
    proxy.refuses = True
    hold.drop()


class TestStillOpen:
    """The COMMIT is lost on its way, and the server keeps the first transaction open."""

    @pytest.fixture
    def operation_id(self) -> OperationId:
        return OperationId(uuid4())

    async def _half_open(
        self,
        proxy: WireProxy,
        scheduler: SchedulerRepository,
        admin: DriverConnection,
        operation_id: OperationId,
    ) -> tuple["asyncio.Task[AllocationResult]", Hold, int]:
        """A call whose second try waits for its first, what holds the COMMIT, and the first's transaction."""
        hold = proxy.hold(Point.COMMIT, Side.REQUEST)
        call = asyncio.create_task(
            scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        )
        await hold.reached(call)
        first = int(await admin.fetchval(_OPEN))
        hold.cut_client()
        async with asyncio.timeout(PATIENCE):
            while not await admin.fetchval(_WAITING):
                await admin.execute("SELECT pg_sleep(0.01)")
        assert not call.done()
        return call, hold, first

    @pytest.mark.parametrize("lock_timeout", [0.2, 60.0], ids=["in several tries", "in one try"])
    async def test_second_try_writes_when_the_server_ends_the_first(
        self,
        make_engine: MakeEngine,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        admin_connection: DriverConnection,
        operation_id: OperationId,
        lock_timeout: float,
    ) -> None:
        # given
        engine = make_engine(idle_in_transaction_timeout=PATIENCE, lock_timeout=lock_timeout)
        call, _, first = await self._half_open(
            proxy, SchedulerRepository(SchedulerDBSource(engine)), admin_connection, operation_id
        )
        # when
        await asyncio.wait([call], timeout=0.5)
        await admin_connection.execute(_END, first)
        result = await call
        # then
        assert result.allocated == (session_id(0),)
        assert result.transaction_id != first
        writers = await owner_connection.fetch(_WRITERS)
        assert [row["xid"] for row in writers] == [result.transaction_id]
        assert await history_of(owner_connection, 0) == ALLOCATED

    async def test_second_try_finds_the_first_when_its_commit_arrives_late(
        self,
        make_engine: MakeEngine,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        admin_connection: DriverConnection,
        operation_id: OperationId,
    ) -> None:
        # given
        engine = make_engine(idle_in_transaction_timeout=60.0, lock_timeout=60.0)
        call, hold, first = await self._half_open(
            proxy, SchedulerRepository(SchedulerDBSource(engine)), admin_connection, operation_id
        )
        # when
        hold.release()
        result = await call
        # then
        assert result.allocated == (session_id(0),)
        assert result.transaction_id == first
        assert await history_of(owner_connection, 0) == ALLOCATED
        assert await count_operations(owner_connection) == 1


class TestNoAnswerInTime:
    @pytest.fixture
    def operation_id(self) -> OperationId:
        return OperationId(uuid4())

    @pytest.mark.parametrize("side", Side)
    async def test_outcome_is_unknown_until_asked_again(
        self,
        make_engine: MakeEngine,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        operation_id: OperationId,
        side: Side,
    ) -> None:
        # given
        scheduler = SchedulerRepository(SchedulerDBSource(make_engine(resolve_timeout=0.2)))
        batch = [place(0, AGENT), place(9, AGENT)]
        call = asyncio.create_task(scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id))
        # when
        await lose_commit(proxy, call, side)
        with pytest.raises(OutcomeUnknown, match=f"COMMIT of operation {operation_id}, .* in 0.2 s"):
            await call
        # then
        stands = side is Side.ANSWER
        assert await status_of(owner_connection, 0) == (
            ("SCHEDULED", {"SCHEDULED"}) if stands else ("PENDING", {"PENDING"})
        )
        # when the server is back
        proxy.refuses = False
        result = await scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id)
        # then
        assert (result.allocated, len(result.rejected)) == ((session_id(0),), 1)
        writers = await owner_connection.fetch(_WRITERS)
        assert [row["xid"] for row in writers] == [result.transaction_id]
        assert await history_of(owner_connection, 0) == ALLOCATED
        assert await scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id) == result

    async def test_id_is_named_when_the_caller_gave_none(
        self, make_engine: MakeEngine, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        # given
        scheduler = SchedulerRepository(SchedulerDBSource(make_engine(resolve_timeout=0.2)))
        call = asyncio.create_task(scheduler.allocate_sessions(GROUP, [place(0, AGENT)]))
        # when
        await lose_commit(proxy, call, Side.ANSWER)
        with pytest.raises(OutcomeUnknown) as lost:
            await call
        # then
        made = await owner_connection.fetchval("SELECT id FROM operations WHERE kind = 'allocate_sessions'")
        assert str(made) in str(lost.value)

    @pytest.mark.parametrize("point", [Point.CONNECT, Point.BEGIN, Point.FETCH])
    async def test_a_server_that_hangs_takes_no_longer(
        self, make_engine: MakeEngine, proxy: WireProxy, operation_id: OperationId, point: Point
    ) -> None:
        """The time to resolve bounds the asking, whatever a statement or a connection may take."""
        # given
        scheduler = SchedulerRepository(
            SchedulerDBSource(
                make_engine(resolve_timeout=0.4, connect_timeout=2 * PATIENCE, statement_timeout=2 * PATIENCE)
            )
        )
        lost = proxy.hold(Point.COMMIT, Side.ANSWER)
        call = asyncio.create_task(
            scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        )
        await lost.reached(call)
        hung = proxy.hold(point, Side.ANSWER, mark="INSERT INTO operations")
        # when
        lost.drop()
        # then
        with pytest.raises(OutcomeUnknown, match=str(operation_id)):
            async with asyncio.timeout(PATIENCE):
                await call
        hung.drop()

    @pytest.mark.parametrize(
        ("trouble", "end_of_trouble", "found"),
        [
            (
                f"ALTER ROLE {SCHEDULER} IN DATABASE {{}} SET default_transaction_read_only = on",
                f"ALTER ROLE {SCHEDULER} IN DATABASE {{}} RESET default_transaction_read_only",
                "read-only transaction",
            ),
            (
                f"REVOKE INSERT ON operations FROM {SCHEDULER}",
                f"GRANT INSERT ON operations TO {SCHEDULER}",
                "permission denied",
            ),
        ],
        ids=["as a standby", "without the privilege"],
    )
    async def test_a_server_that_takes_no_writes_does_not_mean_that_nothing_was_written(
        self,
        make_engine: MakeEngine,
        proxy: WireProxy,
        database: Database,
        operation_id: OperationId,
        trouble: str,
        end_of_trouble: str,
        found: str,
    ) -> None:
        # given
        scheduler = SchedulerRepository(SchedulerDBSource(make_engine(resolve_timeout=1.5)))
        hold = proxy.hold(Point.COMMIT, Side.ANSWER)
        call = asyncio.create_task(
            scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        )
        await hold.reached(call)
        await database.run_as(ADMIN, trouble.format(database.name))
        # when
        hold.drop()
        with pytest.raises(OutcomeUnknown, match=found):
            await call
        # and when it takes writes again
        await database.run_as(ADMIN, end_of_trouble.format(database.name))
        scheduler = SchedulerRepository(SchedulerDBSource(make_engine()))
        result = await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        # then
        assert result.allocated == (session_id(0),)


class TestFoundResult:
    async def test_connection_lost_again_while_it_is_read(
        self, scheduler: SchedulerRepository, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        """The first stands; nothing that the second suffers may be taken for the write's own failure."""
        # given
        call = asyncio.create_task(scheduler.allocate_sessions(GROUP, [place(0, AGENT)]))
        first = proxy.hold(Point.COMMIT, Side.ANSWER)
        await first.reached(call)
        places = [(Point.FETCH, Side.REQUEST), (Point.FETCH, Side.ANSWER), (Point.COMMIT, Side.ANSWER)]
        for point, side in places:
            # when
            again = proxy.hold(point, side, mark="SELECT kind, request_digest, result")
            first.drop()
            await again.reached(call)
            assert not call.done()
            first = again
        first.drop()
        # then
        assert (await call).allocated == (session_id(0),)
        assert await history_of(owner_connection, 0) == ALLOCATED


class TestSecondTry:
    """Once a second try has the id, the first does not stand, and what happens then is its own."""

    async def _second_try(
        self, scheduler: SchedulerRepository, proxy: WireProxy
    ) -> tuple["asyncio.Task[AllocationResult]", Hold]:
        """A call whose second try is stopped at its COMMIT, the first being lost before."""
        operation_id = OperationId(uuid4())
        call = asyncio.create_task(
            scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        )
        first = proxy.hold(Point.COMMIT, Side.REQUEST)
        await first.reached(call)
        second = proxy.hold(Point.COMMIT, Side.REQUEST)
        first.drop()
        await second.reached(call)
        return call, second

    async def test_lost_at_commit_too(
        self, scheduler: SchedulerRepository, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        # given
        call, second = await self._second_try(scheduler, proxy)
        # when
        second.drop()
        result = await call
        # then
        assert result.allocated == (session_id(0),)
        assert await history_of(owner_connection, 0) == ALLOCATED

    async def test_takes_the_time_that_it_needs(
        self, make_engine: MakeEngine, proxy: WireProxy, owner_connection: DriverConnection
    ) -> None:
        # given
        scheduler = SchedulerRepository(SchedulerDBSource(make_engine(resolve_timeout=1.0)))
        call, second = await self._second_try(scheduler, proxy)
        # when the time to resolve passes
        await asyncio.wait([call], timeout=1.2)
        second.release()
        # then
        assert (await call).allocated == (session_id(0),)
        assert await history_of(owner_connection, 0) == ALLOCATED

    async def test_fails_before_its_commit(
        self,
        scheduler: SchedulerRepository,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        admin_connection: DriverConnection,
    ) -> None:
        # given a second try that is stopped where it has the id
        call = asyncio.create_task(scheduler.allocate_sessions(GROUP, [place(0, AGENT)]))
        first = proxy.hold(Point.COMMIT, Side.REQUEST)
        await first.reached(call)
        second = proxy.hold(Point.FETCH, Side.REQUEST, mark="FOR NO KEY UPDATE")
        first.drop()
        await second.reached(call)
        figures = LayerFigures(LayerType.SCHEDULER_REPOSITORY, DomainType.REPOSITORY)
        retries = figures.retries("allocate_sessions")
        # when
        await admin_connection.execute(TERMINATE)
        second.release()
        result = await call
        # then it is known that it wrote nothing, and another try is made
        assert figures.retries("allocate_sessions") - retries == 1
        assert result.allocated == (session_id(0),)
        writers = await owner_connection.fetch(_WRITERS)
        assert [row["xid"] for row in writers] == [result.transaction_id]
        assert await history_of(owner_connection, 0) == ALLOCATED
        assert await count_operations(owner_connection) == 1

    async def test_its_own_timeout_is_no_unknown_outcome(
        self, make_engine: MakeEngine, proxy: WireProxy
    ) -> None:
        """What the work raises of its own, as of an agent that does not answer, is not the asking's end."""
        kind: IdempotentWrite[None] = IdempotentWrite("ask_agent", type(None))
        own, tries = TimeoutError("of the agent"), []

        async def work(_: object) -> None:
            tries.append(1)
            if len(tries) == 2:
                raise own

        hold = proxy.hold(Point.COMMIT, Side.REQUEST)
        call = asyncio.create_task(kind.run(make_engine(), work, request=None))
        await hold.reached(call)
        hold.drop()
        with pytest.raises(TimeoutError) as caught:
            await call
        assert caught.value is own
