"""The session repository, tested as the specification tests it: fixtures per class, on the test's engine."""

from uuid import uuid4

import pytest

from scheduler_repo import (
    ExtendedAsyncSAEngine,
    SessionCreationSpec,
    SessionDBSource,
    SessionId,
    SessionInfo,
    SessionNotFound,
    SessionRepository,
    SessionStatus,
)
from scheduler_repo.models import SessionRow


class TestSessionRepository:
    @pytest.fixture
    async def session_db_source(self, database_engine: ExtendedAsyncSAEngine) -> SessionDBSource:
        return SessionDBSource(database_engine)

    @pytest.fixture
    async def session_repository(self, session_db_source: SessionDBSource) -> SessionRepository:
        return SessionRepository(db_source=session_db_source)

    async def test_create_session(
        self,
        session_repository: SessionRepository,
        database_engine: ExtendedAsyncSAEngine,
        spec: SessionCreationSpec,
    ) -> None:
        # when
        session = await session_repository.create_session(spec)
        # then
        assert session.session_id is not None
        assert session.name == "train"
        assert session.status == SessionStatus.PENDING
        # and a row can be deleted through the engine, as a test cleans up
        async with database_engine.begin_session() as db_sess:
            await db_sess.delete(await db_sess.get_one(SessionRow, session.session_id))
        assert await session_repository.find_session(session.session_id) is None

    async def test_single_and_several_sessions(
        self, session_repository: SessionRepository, spec: SessionCreationSpec
    ) -> None:
        session = await session_repository.create_session(spec)
        info = await session_repository.get_session_info(session.session_id)
        assert isinstance(info, SessionInfo)
        assert (info.session_id, info.name, info.status) == (spec.session_id, "train", SessionStatus.PENDING)
        listed = await session_repository.list_sessions_by_access_key(spec.access_key, limit=10)
        assert [each.session_id for each in listed] == [spec.session_id]
        assert await session_repository.count_active_sessions_by_scaling_group(spec.scaling_group) == 0
        whole = await session_repository.get_session_with_dependencies(session.session_id)
        assert len(whole.kernels) == 1

    async def test_update_status(
        self, session_repository: SessionRepository, spec: SessionCreationSpec
    ) -> None:
        session = await session_repository.create_session(spec)
        await session_repository.update_status(session.session_id, SessionStatus.CANCELLED)
        found = await session_repository.get_session_by_id(session.session_id)
        assert found.status is SessionStatus.CANCELLED

    async def test_what_is_not_there(self, session_repository: SessionRepository) -> None:
        missing = SessionId(uuid4())
        assert await session_repository.find_session(missing) is None
        with pytest.raises(SessionNotFound):
            await session_repository.get_session_by_id(missing)
