"""An operation id stands for one write: asked for again it answers the same and writes nothing."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.entities.allocation import AllocationResult
from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry
from scheduler_repo.errors import InvalidInput, OperationMismatch, ScalingGroupNotFound
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import OperationId, ScalingGroupName, SessionResult
from tests.support.databases import DriverConnection
from tests.support.fixtures import MakeEngine
from tests.support.on_a_server import AGENT, ALLOCATED, count_operations
from tests.support.small_cluster import GROUP, held_on, history_of, ledger_of, place, session_id, status_of
from tests.support.wire_proxy import Point, Side, WireProxy


class TestAskedAgain:
    @pytest.fixture
    def operation_id(self) -> OperationId:
        return OperationId(uuid4())

    async def test_answers_the_same_whatever_came_after(
        self,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
        operation_id: OperationId,
    ) -> None:
        # given a batch with one session that is rejected, and the end of the other
        batch = [place(0, AGENT), place(9, AGENT)]
        first = await scheduler.allocate_sessions(GROUP, batch, operation_id=operation_id)
        await lifecycle.mark_terminated([SessionEnd(session_id(0), SessionResult.SUCCESS)])
        # when
        again = await scheduler.allocate_sessions(GROUP, tuple(batch), operation_id=operation_id)
        # then
        assert again == first
        assert (first.allocated, len(first.rejected)) == ((session_id(0),), 1)
        assert await history_of(owner_connection, 0) == [*ALLOCATED, ("SCHEDULED", "TERMINATED")]
        assert await count_operations(owner_connection) == 2

    async def test_result_of_the_form_before_revision_0003_is_understood(
        self,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
        operation_id: OperationId,
    ) -> None:
        # given the result alone, without what it changed
        first = await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        encoder = msgspec.msgpack.Encoder(uuid_format="bytes")
        await owner_connection.execute("UPDATE operations SET result = $1", encoder.encode(first))
        # when
        again = await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        # then
        assert again == first

    async def test_requeue_is_not_done_to_the_next_attempt(
        self,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        owner_connection: DriverConnection,
        operation_id: OperationId,
    ) -> None:
        # given
        await scheduler.allocate_sessions(GROUP, [place(0, AGENT)])
        retries = [SessionRetry(session_id(0))]
        first = await lifecycle.requeue_sessions(retries, operation_id=operation_id)
        await scheduler.allocate_sessions(GROUP, [place(0, AGENT)])
        # when
        again = await lifecycle.requeue_sessions(retries, operation_id=operation_id)
        # then
        assert again == first
        assert await status_of(owner_connection, 0) == ("SCHEDULED", {"SCHEDULED"})
        # when it is another write
        other = await lifecycle.requeue_sessions(retries)
        # then
        assert other.changed == first.changed
        assert await status_of(owner_connection, 0) == ("PENDING", {"PENDING"})

    @pytest.mark.parametrize("engines", [1, 5])
    async def test_at_the_same_time_writes_once(
        self,
        make_engine: MakeEngine,
        owner_connection: DriverConnection,
        operation_id: OperationId,
        engines: int,
    ) -> None:
        # given
        schedulers = [SchedulerRepository(SchedulerDBSource(make_engine())) for _ in range(engines)]
        # when
        results = await asyncio.gather(
            *(
                schedulers[number % engines].allocate_sessions(
                    GROUP, [place(0, AGENT), place(1, AGENT)], operation_id=operation_id
                )
                for number in range(5)
            )
        )
        # then
        assert {result.allocated for result in results} == {(session_id(0), session_id(1))}
        assert len({result.transaction_id for result in results}) == 1
        for number in (0, 1):
            assert await history_of(owner_connection, number) == ALLOCATED
        assert await count_operations(owner_connection) == 1
        assert await ledger_of(owner_connection, AGENT) == await held_on(owner_connection, AGENT)


class TestMismatch:
    async def test_another_request(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        # when
        with pytest.raises(OperationMismatch, match=f"{operation_id} was allocate_sessions with another"):
            await scheduler.allocate_sessions(GROUP, [place(1, AGENT)], operation_id=operation_id)
        # then
        assert await status_of(owner_connection, 1) == ("PENDING", {"PENDING"})
        assert await history_of(owner_connection, 1) == ALLOCATED[:1]
        assert await count_operations(owner_connection) == 1

    async def test_another_kind_of_write(
        self, scheduler: SchedulerRepository, lifecycle: LifecycleRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        # when
        with pytest.raises(OperationMismatch, match="now asked for as mark_sessions"):
            await lifecycle.mark_terminated([SessionEnd(session_id(0))], operation_id=operation_id)
        # then
        assert await status_of(owner_connection, 0) == ("SCHEDULED", {"SCHEDULED"})
        assert await count_operations(owner_connection) == 1

    async def test_same_sessions_to_another_status(
        self, scheduler: SchedulerRepository, lifecycle: LifecycleRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        await scheduler.allocate_sessions(GROUP, [place(0, AGENT)])
        await lifecycle.mark_preparing([session_id(0)], operation_id=operation_id)
        # when
        with pytest.raises(OperationMismatch):
            await lifecycle.requeue_sessions([SessionRetry(session_id(0))], operation_id=operation_id)
        # then
        assert await status_of(owner_connection, 0) == ("PREPARING", {"PREPARING"})

    async def test_an_id_that_is_none(self, scheduler: SchedulerRepository) -> None:
        with pytest.raises(InvalidInput, match="operation id 'first'"):
            await scheduler.allocate_sessions(
                GROUP,
                [place(0, AGENT)],
                operation_id="first",  # type: ignore[arg-type]
            )


class TestFailed:
    async def test_a_write_that_failed_leaves_its_id_unused(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        nowhere = ScalingGroupName("nowhere")
        with pytest.raises(ScalingGroupNotFound):
            await scheduler.allocate_sessions(nowhere, [place(0, AGENT)], operation_id=operation_id)
        assert await count_operations(owner_connection) == 0
        # when
        result = await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)
        # then
        assert result.allocated == (session_id(0),)


class TestCancelled:
    @pytest.mark.parametrize("side", Side)
    @pytest.mark.parametrize("held_bytes_arrive", [True, False])
    async def test_at_commit_and_asked_again(
        self,
        scheduler: SchedulerRepository,
        proxy: WireProxy,
        owner_connection: DriverConnection,
        side: Side,
        held_bytes_arrive: bool,
    ) -> None:
        # given
        operation_id = OperationId(uuid4())
        hold = proxy.hold(Point.COMMIT, side)

        async def allocate() -> AllocationResult:
            return await scheduler.allocate_sessions(GROUP, [place(0, AGENT)], operation_id=operation_id)

        call = asyncio.create_task(allocate())
        await hold.reached(call)
        # when
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        if held_bytes_arrive:
            hold.release()
        else:
            hold.drop()
        again = await allocate()
        # then
        assert again.allocated == (session_id(0),)
        assert again.rejected == ()
        xids = await owner_connection.fetch(
            "SELECT DISTINCT xmin::text::bigint FROM session_history WHERE to_status = 'SCHEDULED'"
        )
        assert [row[0] for row in xids] == [again.transaction_id]
        assert await history_of(owner_connection, 0) == ALLOCATED
        assert await count_operations(owner_connection) == 1
        assert await allocate() == again
