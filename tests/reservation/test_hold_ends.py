"""A hold ends when its session leaves the queue, or is given up; and it is made once."""

from datetime import timedelta
from uuid import uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.allocation import KernelAllocation
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.lifecycle import SessionRetry
from scheduler_repo.entities.reservation import ReleaseResult, ReservationResult, SessionReservation
from scheduler_repo.errors import InvalidInput, OperationMismatch, ScalingGroupNotFound, StaleLeaseError
from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.types import (
    AgentId,
    LeaseHolder,
    OperationId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
)
from tests.lifecycle.marking import mark
from tests.reservation.contest import A1, LOW, Contest, hold, important
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, kernel_id, place, session, session_id


@pytest.fixture
async def held(contest: Contest) -> Contest:
    """1 runs on the only agent and ends for 10; 11 waits, and there is room enough for it but for the hold."""
    await contest.given(
        [agent(A1)], [important(session(1, 8), LOW), important(session(10, 10)), session(11, 2)], {1: [A1]}
    )
    assert (await contest.reserve(hold(10, A1, victims=[1]))).rejected == ()
    assert (await contest.allocate(place(11, A1))).allocated == ()
    return contest


async def nothing_is_held(contest: Contest) -> None:
    """No row is left of a reservation, and the other session can be placed."""
    assert await contest.connection.fetchval("SELECT count(*) FROM reservations") == 0
    assert await contest.connection.fetchval("SELECT count(*) FROM kernel_reservations") == 0
    data = await contest.read()
    assert data.reservations == ()
    assert (data.agents[0].reserved, data.agents[0].reserved_containers) == ((0, 0), 0)
    assert (await contest.allocate(place(11, A1))).rejected == ()


class TestSessionLeavesTheQueue:
    @pytest.mark.parametrize("to_status", [SessionStatus.CANCELLED, SessionStatus.ERROR])
    async def test_cancelled_or_failed(self, held: Contest, to_status: SessionStatus) -> None:
        # when
        result = await mark(held.lifecycle, to_status, [session_id(10)])
        # then
        assert result.changed == (session_id(10),)
        await nothing_is_held(held)

    async def test_swept(self, held: Contest) -> None:
        # given
        await held.connection.execute("UPDATE scaling_groups SET pending_timeout = interval '1 hour'")
        await held.connection.execute(
            "UPDATE sessions SET status_changed_at = now() - interval '2 hours' WHERE id = $1", session_id(10)
        )
        # when
        result = await held.lifecycle.sweep_pending_sessions(GROUP, 10)
        # then
        assert result.changed == (session_id(10),)
        await nothing_is_held(held)

    async def test_requeued_later_it_holds_nothing(self, held: Contest) -> None:
        # given: it was placed, by its hold
        await held.end(1)
        assert (await held.allocate(place(10, A1))).rejected == ()
        # when
        requeued = await held.lifecycle.requeue_sessions([SessionRetry(session_id(10))])
        # then
        assert requeued.changed == (session_id(10),)
        await nothing_is_held(held)


class TestAgentIsLost:
    async def test_what_was_held_on_it_is_held_no_more(
        self, held: Contest, engine: ExtendedAsyncSAEngine
    ) -> None:
        # given an agent that is never heard of again
        await held.connection.execute(
            "UPDATE agents SET created_at = now() - interval '1 hour',"
            " status_changed_at = now() - interval '1 hour'"
        )
        # when
        lost = await AgentRepository(AgentDBSource(engine)).mark_lost_agents(GROUP, timedelta(minutes=1))
        # then the session that waited for it may go elsewhere
        assert lost.changed == (A1,)
        assert await held.connection.fetchval("SELECT count(*) FROM reservations") == 0
        assert (await held.read()).reservations == ()


class TestRelease:
    async def test_gives_the_room_to_all(self, held: Contest) -> None:
        # when
        unknown = SessionId(uuid4())
        result = await held.reservations.release_reservations(
            [session_id(11), session_id(10), unknown, session_id(10)]
        )
        # then: the victim ends all the same, and the session goes on waiting
        assert (result.released, result.rejected) == ((session_id(10),), (session_id(11), unknown))
        assert await held.status(1) is SessionStatus.TERMINATING
        assert await held.status(10) is SessionStatus.PENDING
        await nothing_is_held(held)

    async def test_then_it_can_be_reserved_again(self, held: Contest) -> None:
        # given
        await held.reservations.release_reservations([session_id(10)])
        # when: what its victim gives back is enough, without another
        result = await held.reserve(hold(10, A1))
        # then
        assert result.reserved == (session_id(10),)

    async def test_of_none(self, held: Contest) -> None:
        assert await held.reservations.release_reservations([]) == ReleaseResult((), ())

    async def test_under_the_lease_of_another_group(self, held: Contest, leases: LeaseRepository) -> None:
        # given
        lease = await leases.acquire_lease(OTHER_GROUP, LeaseHolder("me"), timedelta(minutes=1))
        # when
        result = await held.reservations.release_reservations([session_id(10)], lease=lease)
        # then
        assert (result.released, result.rejected) == ((), (session_id(10),))
        assert await held.holders() == [session_id(10)]

    @pytest.fixture
    def leases(self, engine: ExtendedAsyncSAEngine) -> LeaseRepository:
        return LeaseRepository(LeaseDBSource(engine))


class TestOnce:
    async def test_asked_again_under_the_same_id(self, contest: Contest) -> None:
        # given
        await contest.given([agent(A1)], [important(session(1, 8), LOW), important(session(10, 10))], {1: [A1]})
        operation_id = OperationId(uuid4())
        batch = [hold(10, A1, victims=[1])]
        first = await contest.reservations.reserve_sessions(GROUP, batch, operation_id=operation_id)
        assert first.reserved == (session_id(10),)
        # when: even if the hold has been given up meanwhile
        await contest.reservations.release_reservations([session_id(10)])
        again = await contest.reservations.reserve_sessions(GROUP, batch, operation_id=operation_id)
        # then
        assert again == first
        assert await contest.holders() == []
        with pytest.raises(OperationMismatch):
            await contest.reservations.reserve_sessions(GROUP, [hold(10, A1)], operation_id=operation_id)

    async def test_rejections_are_stored_too(self, held: Contest) -> None:
        # given
        operation_id = OperationId(uuid4())
        batch = [hold(10, A1), hold(11, A1, victims=[1]), hold(11, A1), hold(99, A1)]
        # when
        first = await held.reservations.reserve_sessions(GROUP, batch, operation_id=operation_id)
        again = await held.reservations.reserve_sessions(GROUP, batch, operation_id=operation_id)
        # then
        assert len(first.rejected) == 4
        assert again == first


class TestArguments:
    async def test_of_none(self, contest: Contest) -> None:
        assert await contest.reserve() == ReservationResult((), ())

    async def test_group_that_does_not_exist(self, contest: Contest) -> None:
        with pytest.raises(ScalingGroupNotFound, match="nowhere"):
            await contest.reservations.reserve_sessions(ScalingGroupName("nowhere"), [hold(1, A1)])

    @pytest.mark.parametrize(
        "batch",
        [
            SessionReservation("x", ()),  # type: ignore[arg-type] # it is what is tested
            SessionReservation(session_id(1), (KernelAllocation("x", AgentId(A1)),)),  # type: ignore[arg-type]
            SessionReservation(session_id(1), (KernelAllocation(kernel_id(1), AgentId(A1)),), ("x",)),  # type: ignore[arg-type]
        ],
    )
    async def test_ids_that_are_none(self, contest: Contest, batch: SessionReservation) -> None:
        with pytest.raises(InvalidInput, match="id 'x' is a str"):
            await contest.reserve(batch)

    @pytest.mark.parametrize("name", [None, 7, b"a1", "a\ud800b", "a\x00b"], ids=ascii)
    async def test_agent_ids_that_are_none(self, held: Contest, name: str) -> None:
        with pytest.raises(InvalidInput):
            await held.reserve(hold(11, name))
        assert await held.holders() == [session_id(10)]

    async def test_lease_of_another_group_or_lost(self, held: Contest) -> None:
        # given
        now = (await held.read()).observed_at
        lost = Lease(GROUP, LeaseHolder("me"), 7, now, now + timedelta(hours=1))
        other = Lease(OTHER_GROUP, LeaseHolder("me"), 7, now, now + timedelta(hours=1))
        # when / then
        with pytest.raises(StaleLeaseError):
            await held.reservations.reserve_sessions(GROUP, [hold(11, A1)], lease=lost)
        with pytest.raises(InvalidInput, match="other"):
            await held.reservations.reserve_sessions(GROUP, [hold(11, A1)], lease=other)
        with pytest.raises(StaleLeaseError):
            await held.reservations.release_reservations([session_id(10)], lease=lost)
        assert await held.holders() == [session_id(10)]
