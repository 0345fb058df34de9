"""Rings of dependencies are refused when they are made; what waits behind what can never succeed says so."""

import asyncio
from collections.abc import Sequence

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.session import CreationRejectionCode, SessionCreationSpec
from scheduler_repo.errors import InvalidInput, LockNotAvailable
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.explain.reasons import WaitingReason, waiting_reasons
from scheduler_repo.types import SessionId
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.shared_databases import SharedDatabase
from tests.support.small_cluster import GROUP, OTHER_GROUP, agent, cluster, session, session_id

RING = CreationRejectionCode.INVALID_DEPENDENCY
HOPELESS, WAITS = WaitingReason.DEPENDENCY_CANNOT_BE_MET, WaitingReason.DEPENDENCY_NOT_MET


def depending(number: int, *others: int) -> SessionCreationSpec:
    group = GROUP if number % 2 else OTHER_GROUP
    return session(number, 1, scaling_group=group, depends_on=tuple(map(session_id, others)))


def ring(length: int) -> list[SessionCreationSpec]:
    return [depending(number, (number + 1) % length) for number in range(length)]


def ids(specs: Sequence[SessionCreationSpec]) -> tuple[SessionId, ...]:
    return tuple(spec.session_id for spec in specs)


@pytest.fixture
async def sessions(load: Load, engine: ExtendedAsyncSAEngine) -> SessionRepository:
    await load(cluster([agent("a1")], []))
    return SessionRepository(SessionDBSource(engine))


class TestRings:
    @pytest.mark.parametrize("length", [2, 3, 500])
    async def test_in_one_batch(self, sessions: SessionRepository, length: int) -> None:
        # given a ring, one that depends on it, and one that has nothing to do with it
        batch = [*ring(length), depending(length, 0), depending(length + 1)]
        # when
        result = await sessions.create_sessions(batch)
        # then
        assert result.created == ids(batch[length:])
        assert {(each.session_id, each.code) for each in result.rejected} == {
            (each, RING) for each in ids(batch[:length])
        }
        with pytest.raises(InvalidInput, match=f"in a ring of {length}"):
            await sessions.enqueue_sessions(ring(length))

    @pytest.mark.parametrize("length", [2, 3, 12])
    async def test_closed_by_the_last_of_many_batches(self, sessions: SessionRepository, length: int) -> None:
        *first, last = ring(length)
        for each in first:
            assert (await sessions.create_sessions([each])).rejected == ()
        # when
        result = await sessions.create_sessions([last, depending(length)])
        # then
        assert result.created == (session_id(length),)
        assert [each.code for each in result.rejected] == [RING]
        assert str(last.depends_on[0]) in result.rejected[0].detail
        with pytest.raises(InvalidInput, match="in a ring of"):
            await sessions.create_session(last)
        with pytest.raises(InvalidInput, match="in a ring of"):
            await sessions.enqueue_sessions([depending(length + 1), last])

    @pytest.mark.parametrize("length", [2, 3])
    async def test_of_those_that_race_one_is_refused(
        self,
        sessions: SessionRepository,
        owner_connection: DriverConnection,
        length: int,
    ) -> None:
        for turn in range(10):
            first = turn * length
            # when
            results = await asyncio.gather(
                *(
                    sessions.create_sessions([depending(first + number, first + (number + 1) % length)])
                    for number in range(length)
                )
            )
            # then
            assert sum(len(result.rejected) for result in results) == 1
        assert await owner_connection.fetchval("SELECT count(*) FROM sessions") == 10 * (length - 1)

    async def test_a_diamond_is_none(self, sessions: SessionRepository) -> None:
        batch = [depending(1, 2, 3), depending(2, 4), depending(3, 4), depending(4)]
        assert (await sessions.create_sessions(batch)).rejected == ()

    async def test_those_that_cannot_look_for_rings_are_left_for_later(
        self, load: Load, shared_database: SharedDatabase, owner_connection: DriverConnection
    ) -> None:
        # given another client that keeps a group locked
        await load(cluster([agent("a1")], []))
        impatient = shared_database.engine_with(lock_timeout=0.3, batch_lock_timeout=0.05)
        sessions = SessionRepository(SessionDBSource(impatient))
        async with owner_connection.transaction():
            await owner_connection.execute(
                "SELECT FROM scaling_groups WHERE name = $1 FOR NO KEY UPDATE", OTHER_GROUP
            )
            # when one depends on a session that is not there, and another on none
            result = await sessions.create_sessions([depending(1, 9), depending(3)])
            with pytest.raises(LockNotAvailable):
                await sessions.enqueue_sessions([depending(5, 9)])
        # then
        assert result.created == (session_id(3),)
        assert [each.code for each in result.rejected] == [CreationRejectionCode.ROW_LOCKED]


class TestHopeless:
    async def reasons(self, scheduler: SchedulerRepository) -> dict[SessionId, WaitingReason]:
        found: dict[SessionId, WaitingReason] = {}
        for group in (GROUP, OTHER_GROUP):
            data = await scheduler.get_scheduling_data(group)
            found |= {each.session_id: each.reason for each in waiting_reasons(data)}
        return found

    async def test_behind_one_that_failed_at_any_distance(
        self, sessions: SessionRepository, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given a chain behind a session that failed, one behind a session that waits, and one behind both
        chain = [depending(number, number - 1) for number in range(1, 6)]
        other = [depending(number, number - 1) for number in range(11, 14)]
        await sessions.enqueue_sessions([depending(0), *chain, depending(10), *other, depending(20, 5, 13)])
        await owner_connection.execute("UPDATE sessions SET status = 'ERROR' WHERE id = $1", session_id(0))
        # when
        reasons = await self.reasons(scheduler)
        # then
        assert [reasons[each] for each in ids(chain)] == [HOPELESS] * 5
        assert [reasons[each] for each in ids(other)] == [WAITS] * 3
        assert reasons[session_id(20)] is HOPELESS
        shown = await sessions.get_session_with_dependencies(session_id(20))
        assert [each.can_be_met for each in shown.dependencies] == [False, True]

    async def test_in_or_behind_a_ring_that_is_stored(
        self, sessions: SessionRepository, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given what the version before took
        await sessions.enqueue_sessions([depending(number) for number in range(3)])
        await owner_connection.executemany(
            "INSERT INTO session_dependencies VALUES ($1, $2)",
            [(session_id(number), session_id((number + 1) % 3)) for number in range(3)],
        )
        # when one is made that depends on it
        await sessions.create_session(depending(3, 0))
        # then
        assert set((await self.reasons(scheduler)).values()) == {HOPELESS}
