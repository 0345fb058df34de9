"""Creating sessions: one, or each of a batch that can be."""

from datetime import UTC, datetime
from typing import cast
from uuid import uuid4

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.session import CreationRejectionCode, SessionCreationResult, SessionCreationSpec
from scheduler_repo.errors import (
    InvalidInput,
    OperationMismatch,
    SessionAlreadyExists,
    VFolderNotFound,
)
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import (
    AgentId,
    OperationId,
    ScalingGroupName,
    SessionId,
)
from tests.session.odd_sessions import OTHER, REFUSALS, mount, with_, with_mounts
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import CPU, GROUP, cluster, history_of, session, session_id


class TestSessionCreation:
    @pytest.fixture
    def repository(self, engine: ExtendedAsyncSAEngine) -> SessionRepository:
        return SessionRepository(SessionDBSource(engine))

    @pytest.fixture(autouse=True)
    async def loaded(self, load: Load) -> None:
        """A cluster with one session in its queue."""
        await load(cluster([], [session(90, 1)]))

    async def test_one_session_as_it_was_created(self, repository: SessionRepository) -> None:
        # when
        info = await repository.create_session(session(1, 2, 3))
        # then
        assert info == await repository.get_session_info(session_id(1))
        assert info.requested_slots == (5, 2)

    async def test_a_session_with_every_value_stays_as_it_was_given(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        when = datetime(2026, 1, 2, 3, 4, 5, 6, UTC)
        odd_names = (AgentId('b"'), AgentId("a,{}"), AgentId("\\"), AgentId("NULL"), AgentId(" é"))
        spec = msgspec.structs.replace(
            session(1, 1, designated=odd_names, requested_start_at=when, depends_on=(SessionId(OTHER),)),
            created_at=when,
            name="名 '\"\\",
            priority=-(2**31),
        )
        # when
        await repository.create_sessions([spec])
        # then
        found = await repository.get_session_by_id(session_id(1))
        assert found.designated_agent_ids == tuple(sorted(odd_names))
        assert (found.created_at, found.requested_start_at) == (when, when)
        assert (found.name, found.priority) == (spec.name, spec.priority)
        assert await history_of(owner_connection, 1) == [(None, "PENDING")]
        assert await owner_connection.fetchval(
            "SELECT has_dependencies FROM sessions WHERE id = $1", session_id(1)
        )

    async def test_a_batch_is_queued_as_if_it_were_enqueued(
        self, repository: SessionRepository, db_source: SchedulerDBSource
    ) -> None:
        # given
        specs = [session(number, 1, number + 1) for number in (5, 3, 4)]
        # when
        result = await repository.create_sessions(specs)
        # then
        data = (await db_source.get_scheduling_data(GROUP)).data
        assert result.rejected == ()
        assert result.created == tuple(spec.session_id for spec in specs)
        assert [each.session_id for each in data.pending_sessions] == [session_id(90), *result.created]
        for spec, each in zip(specs, data.pending_sessions[1:], strict=True):
            assert [k.requested_slots for k in each.kernels] == [
                (1, 1),
                (spec.kernels[1].requested_slots[CPU], 1),
            ]
        assert result.transaction_id is not None
        assert data.has_seen(result.transaction_id)

    async def test_those_that_are_refused_keep_back_no_other(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        odd = [refusal[0](session(number, 1)) for number, refusal in enumerate(REFUSALS, 200)]
        # when
        result = await repository.create_sessions([session(0, 1), *odd, session(1, 1)])
        # then
        assert result.created == (session_id(0), session_id(1))
        assert [each.session_id for each in result.rejected] == [spec.session_id for spec in odd]
        for (_, code, error, words), rejected in zip(REFUSALS, result.rejected, strict=True):
            assert rejected.code is code
            assert words in rejected.detail
            assert type(rejected.to_error()) is error
        assert {code for _, code, _, _ in REFUSALS} == {*CreationRejectionCode} - {
            CreationRejectionCode.ROW_LOCKED  # tests/locks
        }
        for table in ("sessions", "kernels", "session_history"):
            assert await owner_connection.fetchval(f"SELECT count(*) FROM {table}") == 3

    async def test_one_alone_raises_what_stands_against_it(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        for odd, code, error, words in REFUSALS:
            if code is not CreationRejectionCode.DUPLICATE:
                # when
                with pytest.raises(error) as raised:
                    await repository.create_session(odd(session(5, 1)))
                # then
                assert type(raised.value) is error
                assert words in str(raised.value)
        assert await owner_connection.fetchval("SELECT count(*) FROM kernels") == 1
        assert await owner_connection.fetchval("SELECT count(*) FROM operations") == 1

    async def test_a_kernel_named_twice_in_one_session(self, repository: SessionRepository) -> None:
        # given
        spec = session(1, 1, 1)
        twice = msgspec.structs.replace(spec, kernels=(spec.kernels[0], spec.kernels[0]))
        # then
        with pytest.raises(SessionAlreadyExists, match="one of its kernels"):
            await repository.create_session(twice)

    async def test_what_was_refused_takes_no_name_from_another(self, repository: SessionRepository) -> None:
        # given a session whose group does not exist, and one under the same ids that is right
        wrong = with_(scaling_group=ScalingGroupName("gqu"))(session(1, 1))
        # when
        result = await repository.create_sessions([wrong, session(1, 1)])
        # then
        assert result.created == (session_id(1),)
        assert [each.code for each in result.rejected] == [CreationRejectionCode.SCALING_GROUP_UNKNOWN]

    @pytest.mark.parametrize("malformed", ["x", None, 7])
    async def test_a_session_id_that_is_none_is_refused_before_any_query(
        self, unreachable: ExtendedAsyncSAEngine, malformed: object
    ) -> None:
        # given
        repository = SessionRepository(SessionDBSource(unreachable))
        odd = with_(session_id=malformed)(session(1, 1))
        # then
        with pytest.raises(InvalidInput, match=r"session id .* must be a UUID"):
            await repository.create_sessions([session(2, 1), odd])
        with pytest.raises(InvalidInput, match="SessionCreationSpec"):
            await repository.create_sessions([cast(SessionCreationSpec, malformed)])

    async def test_nothing_to_create(self, repository: SessionRepository) -> None:
        assert await repository.create_sessions([]) == SessionCreationResult((), ())

    async def test_asking_again_under_an_operation_id_answers_the_same(
        self, repository: SessionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        one, batch = OperationId(uuid4()), OperationId(uuid4())
        specs = [session(1, 1), session(90, 1)]
        info = await repository.create_session(session(2, 1), operation_id=one)
        result = await repository.create_sessions(specs, operation_id=batch)
        # when
        again = await repository.create_sessions(specs, operation_id=batch)
        # then
        assert again == result
        assert await repository.create_session(session(2, 1), operation_id=one) == info
        with pytest.raises(OperationMismatch):
            await repository.create_sessions(specs[:1], operation_id=batch)
        assert await owner_connection.fetchval("SELECT count(*) FROM sessions") == 3


class TestMountsOfEnqueuedSessions:
    async def test_all_or_none(
        self, engine: ExtendedAsyncSAEngine, load: Load, owner_connection: DriverConnection
    ) -> None:
        # given
        await load(cluster([], []))
        repository = SessionRepository(SessionDBSource(engine))
        # then
        with pytest.raises(VFolderNotFound, match=str(OTHER)):
            await repository.enqueue_sessions([session(1, 1), with_mounts(mount("/m"))(session(2, 1))])
        assert await owner_connection.fetchval("SELECT count(*) FROM sessions") == 0

    async def test_a_field_of_another_kind(self) -> None:
        with pytest.raises(InvalidInput, match=r"mounts is .*, it must be a tuple"):
            with_(mounts="/m")(session(1, 1))
        with pytest.raises(InvalidInput, match="permission is 'rw', it must be a MountPermission"):
            msgspec.structs.replace(mount("/m"), permission="rw")
