"""Creating sessions while others create the same, or delete what they name."""

import asyncio
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.session import CreationRejectionCode, SessionCreationSpec
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import (
    ProjectId,
    SessionId,
)
from tests.session.odd_sessions import OTHER, with_
from tests.support.databases import ADMIN, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import cluster, kernel_id, session, session_id
from tests.support.waiting import until_blocked


class TestCreationRaces:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(engine))

    async def insert(self, connection: DriverConnection, number: int, same: str) -> None:
        """Insert a session with this session's id, or another one with its kernel's, like session 90."""
        columns = "scaling_group, access_key, user_id, project_id, domain_name"
        inserted = session_id(number) if same == "session" else session_id(50)
        await connection.execute(
            f"INSERT INTO sessions (id, name, {columns}, session_type, cluster_mode) "
            f"SELECT $1, name, {columns}, session_type, cluster_mode FROM sessions WHERE id = $2",
            inserted,
            session_id(90),
        )
        await connection.execute(
            f"INSERT INTO kernels (id, session_id, kernel_index, {columns}, requested_slots) "
            f"SELECT $1, $2, 0, {columns}, requested_slots FROM kernels WHERE id = $3",
            kernel_id(50) if same == "session" else kernel_id(number),
            inserted,
            kernel_id(90),
        )

    def retries(self) -> float:
        """How often a creation was tried again so far, as after a deadlock."""
        labels = {"domain": "repository", "layer": "session_db_source", "operation": "create_sessions"}
        return REGISTRY.get_sample_value("backendai_layer_retry_count_total", labels) or 0.0

    @pytest.mark.parametrize("stands", [True, False])
    @pytest.mark.parametrize("same", ["session", "kernel"])
    async def test_the_same_id_in_another_transaction_is_waited_for(
        self,
        repository: SessionRepository,
        load: Load,
        migrated_database: Database,
        owner_connection: DriverConnection,
        same: str,
        stands: bool,
    ) -> None:
        # given a session that another has inserted, and may take back
        await load(cluster([], [session(90, 1)]))
        other = owner_connection.transaction()
        await other.start()
        await self.insert(owner_connection, 1, same)
        # when
        creating = asyncio.create_task(repository.create_sessions([session(number, 1) for number in range(3)]))
        async with migrated_database.driver_as(ADMIN) as admin:
            await until_blocked(admin, 1)
        await (other.commit() if stands else other.rollback())
        result = await creating
        # then
        if stands:
            code = (
                CreationRejectionCode.SESSION_EXISTS
                if same == "session"
                else CreationRejectionCode.KERNEL_EXISTS
            )
            assert [(each.session_id, each.code) for each in result.rejected] == [(session_id(1), code)]
            assert result.created == (session_id(0), session_id(2))
        else:
            assert result.rejected == ()
            assert len(result.created) == 3

    @pytest.mark.parametrize("same", ["session", "kernel"])
    async def test_in_whatever_order_ids_are_given_nobody_deadlocks(
        self,
        repository: SessionRepository,
        load: Load,
        migrated_database: Database,
        owner_connection: DriverConnection,
        same: str,
    ) -> None:
        # given: both wait for the last of their ids, which one of them names first
        await load(cluster([], [session(90, 1)]))
        low, high = session(1, 1), session(5, 1)
        batches = [[high, low], [low, high]]
        if same == "kernel":
            both = (*high.kernels, *low.kernels)
            batches = [[with_(kernels=both)(session(6, 1))], [with_(kernels=both[::-1])(session(7, 1))]]
        retries_before = self.retries()
        other = owner_connection.transaction()
        await other.start()
        await self.insert(owner_connection, 5, same)
        # when
        async with migrated_database.driver_as(ADMIN) as admin:
            creating = []
            for waiting, batch in enumerate(batches, 1):
                creating.append(asyncio.create_task(repository.create_sessions(batch)))
                await until_blocked(admin, waiting)
        await other.rollback()
        results = await asyncio.gather(*creating)
        # then: one of them had all
        assert sorted(len(result.created) for result in results) == [0, len(batches[0])]
        assert self.retries() == retries_before

    async def test_many_callers_with_the_same_sessions_create_each_once(
        self, repository: SessionRepository, load: Load, owner_connection: DriverConnection
    ) -> None:
        # given batches that overlap, in unlike orders; odd ones bring the kernels of others' sessions
        await load(cluster([], []))
        numbers = list(range(30))

        def batch(turn: int) -> list[SessionCreationSpec]:
            turned = numbers[turn:] + numbers[:turn]
            specs = [session(number, 1, 1) for number in (turned if turn % 4 else turned[::-1])]
            return [with_(session_id=SessionId(uuid4()))(spec) for spec in specs] if turn % 2 else specs

        retries_before = self.retries()
        # when
        results = await asyncio.gather(*(repository.create_sessions(batch(turn)) for turn in range(12)))
        # then: nobody had to try again, as after a deadlock
        assert self.retries() == retries_before
        created = [each for result in results for each in result.created]
        assert len(created) == len(set(created)) == len(numbers)
        assert sum(len(result.rejected) for result in results) == 11 * len(numbers)
        kernels = await owner_connection.fetch("SELECT session_id, count(*) FROM kernels GROUP BY 1")
        assert {row["session_id"]: row["count"] for row in kernels} == dict.fromkeys(created, 2)
        assert await owner_connection.fetchval("SELECT count(*) FROM session_history") == len(numbers)

    async def test_an_owner_that_is_deleted_meanwhile(
        self,
        repository: SessionRepository,
        load: Load,
        migrated_database: Database,
        owner_connection: DriverConnection,
    ) -> None:
        # given a project that another transaction is about to delete
        await load(cluster([], []))
        home = ProjectId(OTHER)
        await owner_connection.execute(
            "INSERT INTO projects (id, name, domain_name) VALUES ($1, 'other', 'lab')", home
        )
        other = owner_connection.transaction()
        await other.start()
        await owner_connection.execute("DELETE FROM projects WHERE id = $1", home)
        # when
        specs = [session(0, 1), with_(project_id=home)(session(1, 1))]
        creating = asyncio.create_task(repository.create_sessions(specs))
        async with migrated_database.driver_as(ADMIN) as admin:
            await until_blocked(admin, 1)
        await other.commit()
        result = await creating
        # then
        assert result.created == (session_id(0),)
        assert [each.code for each in result.rejected] == [CreationRejectionCode.OWNER_UNKNOWN]
