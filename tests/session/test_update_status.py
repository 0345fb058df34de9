"""One session from status to status: what the table of transitions allows, and typed errors for the rest."""

from datetime import timedelta
from typing import Final, cast
from uuid import UUID, uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.transitions import SESSION_TRANSITIONS
from scheduler_repo.errors import (
    DatabaseError,
    InvalidInput,
    InvalidTransition,
    OperationMismatch,
    SessionNotFound,
    StaleLeaseError,
)
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import LeaseHolder, OperationId, SessionId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import (
    GROUP,
    OTHER_GROUP,
    agent,
    cluster,
    held_on,
    history_of,
    ledger_of,
    place,
    session,
    session_id,
    status_of,
)

MINUTE: Final = timedelta(minutes=1)


class TestUpdateStatus:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(engine))

    @pytest.fixture
    def leases(self, engine: ExtendedAsyncSAEngine) -> LeaseRepository:
        return LeaseRepository(LeaseDBSource(engine))

    @pytest.fixture(autouse=True)
    async def placed(self, load: Load, scheduler: SchedulerRepository) -> None:
        """A session of two kernels on two agents, and one that waits."""
        await load(cluster([agent("a"), agent("b")], [session(1, 2, 3), session(2, 1)]))
        await scheduler.allocate_sessions(GROUP, [place(1, "a", "b")])

    async def test_a_session_goes_through_its_life(
        self,
        repository: SessionRepository,
        scheduler: SchedulerRepository,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        life = [SessionStatus.PREPARING, SessionStatus.RUNNING, SessionStatus.TERMINATED]
        for status in life:
            # when
            seen_by = await repository.update_status(session_id(1), status, f"to {status}")
            # then
            assert await status_of(owner_connection, 1) == (status, {status})
            assert (await scheduler.get_scheduling_data(GROUP)).has_seen(seen_by)
            assert await ledger_of(owner_connection, "a") == await held_on(owner_connection, "a")
        assert (await ledger_of(owner_connection, "b")).cpu == 0
        assert await history_of(owner_connection, 1) == [
            (None, "PENDING"),
            ("PENDING", "SCHEDULED"),
            ("SCHEDULED", "PREPARING"),
            ("PREPARING", "RUNNING"),
            ("RUNNING", "TERMINATED"),
        ]

    async def test_every_status_against_the_table(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        for found in SessionStatus:
            for asked in SessionStatus:
                # given
                await owner_connection.execute(
                    "UPDATE sessions SET status = $2 WHERE id = $1", session_id(2), found.value
                )
                if asked is SessionStatus.SCHEDULED:
                    with pytest.raises(InvalidInput, match=r"SCHEDULED by allocate_sessions\(\) only"):
                        await repository.update_status(session_id(2), asked)
                elif asked in SESSION_TRANSITIONS[found]:
                    await repository.update_status(session_id(2), asked)
                    assert (await repository.get_session_by_id(session_id(2))).status is asked
                else:
                    words = f"session {session_id(2)} may not go from {found} to {asked}; "
                    words += "may follow: " if SESSION_TRANSITIONS[found] else "it has ended for good"
                    with pytest.raises(InvalidTransition, match=words):
                        await repository.update_status(session_id(2), asked)

    async def test_a_session_that_is_not_there(self, repository: SessionRepository) -> None:
        nobody = SessionId(UUID(int=7))
        with pytest.raises(SessionNotFound, match=f"session {nobody} does not exist"):
            await repository.update_status(nobody, SessionStatus.RUNNING)

    async def test_what_is_malformed_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine
    ) -> None:
        # given
        repository = SessionRepository(SessionDBSource(unreachable))
        # then
        for odd_id in ("x", None, 7):
            with pytest.raises(InvalidInput, match="must be a UUID"):
                await repository.update_status(cast(SessionId, odd_id), SessionStatus.RUNNING)
        for status in ("RUNNING", "running", None, 7):
            with pytest.raises(InvalidInput, match=r"it must be a SessionStatus \(PENDING, "):
                await repository.update_status(session_id(1), cast(SessionStatus, status))
        for reason in (7, "a\0", "\ud800"):
            with pytest.raises(InvalidInput, match="the reason"):
                await repository.update_status(session_id(1), SessionStatus.RUNNING, cast(str, reason))

    async def test_a_lease(self, repository: SessionRepository, leases: LeaseRepository) -> None:
        # given
        other = await leases.acquire_lease(OTHER_GROUP, LeaseHolder("me"), MINUTE)
        lost = await leases.acquire_lease(GROUP, LeaseHolder("me"), MINUTE)
        await leases.release_lease(lost)
        held = await leases.acquire_lease(GROUP, LeaseHolder("me"), MINUTE)
        # then
        with pytest.raises(InvalidInput, match="is not of the lease's scaling group"):
            await repository.update_status(session_id(1), SessionStatus.PREPARING, lease=other)
        with pytest.raises(StaleLeaseError):
            await repository.update_status(session_id(1), SessionStatus.PREPARING, lease=lost)
        await repository.update_status(session_id(1), SessionStatus.PREPARING, lease=held)

    async def test_asking_again_under_an_operation_id_answers_the_same(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        one = OperationId(uuid4())
        first = await repository.update_status(session_id(1), SessionStatus.PREPARING, operation_id=one)
        # when
        again = await repository.update_status(session_id(1), SessionStatus.PREPARING, operation_id=one)
        # then
        assert again == first
        assert len(await history_of(owner_connection, 1)) == 3
        with pytest.raises(OperationMismatch):
            await repository.update_status(session_id(1), SessionStatus.RUNNING, operation_id=one)

    async def test_counters_that_have_drifted(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await owner_connection.execute("UPDATE agent_slots SET occupied = 0 WHERE agent_id = 'b'")
        # then
        with pytest.raises(
            DatabaseError, match=r"cannot give back what it occupies \(it is SCHEDULED, agent b"
        ):
            await repository.update_status(session_id(1), SessionStatus.TERMINATED)
        assert (await repository.get_session_by_id(session_id(1))).status is SessionStatus.SCHEDULED
