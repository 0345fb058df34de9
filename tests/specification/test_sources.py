"""Sources and repositories of a user's own, in the specification's shape, on the package's engine."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Optional
from uuid import uuid4

import msgspec
import pytest
import sqlalchemy as sa

from scheduler_repo import (
    AccessKey,
    DatabaseReadOnly,
    ExtendedAsyncSAEngine,
    Repositories,
    SASession,
    SessionAlreadyExists,
    SessionCreationSpec,
    SessionId,
    SessionNotFound,
    SessionStatus,
)
from scheduler_repo.models import KernelRow, SessionRow


class Note(msgspec.Struct, frozen=True):
    """What the repository below answers with."""

    session_id: SessionId
    name: str
    status: SessionStatus
    kernel_count: int


class RawNotes(msgspec.Struct, frozen=True):
    """What one read found, before it is made into notes."""

    sessions: Sequence[SessionRow]
    kernels: Sequence[KernelRow]


class NoteDBSource:
    """Public methods open one session each; private ones are given it."""

    _db: ExtendedAsyncSAEngine

    def __init__(self, db: ExtendedAsyncSAEngine) -> None:
        self._db = db

    async def get_note(self, session_id: SessionId) -> Note:
        async with self._db.begin_readonly_session() as db_sess:
            row = await self._fetch_session(db_sess, session_id)
            if not row:
                raise SessionNotFound(f"there is no session {session_id}")
            kernels = await self._fetch_kernels(db_sess, [row])
        return Note(SessionId(row.id), row.name, SessionStatus(row.status), len(kernels))

    async def find_note(self, session_id: SessionId) -> Optional[Note]:
        async with self._db.begin_readonly_session() as db_sess:
            row = await self._fetch_session(db_sess, session_id)
            return None if row is None else Note(row.id, row.name, SessionStatus(row.status), 0)

    async def list_by_access_key(self, access_key: AccessKey, limit: int = 100) -> list[Note]:
        # All is read at once, and made into notes when the connection has gone back.
        async with self._db.begin_readonly_session() as db_sess:
            raw = await self._fetch_all(db_sess, access_key, limit)
        return [self._to_note(row, raw.kernels) for row in raw.sessions]

    async def create(self, spec: SessionCreationSpec) -> SessionRow:
        try:
            async with self._db.begin_session() as db_sess:
                row = SessionRow(
                    id=spec.session_id,
                    name=spec.name,
                    scaling_group=spec.scaling_group,
                    access_key=spec.access_key,
                    user_id=spec.user_id,
                    project_id=spec.project_id,
                    domain_name=spec.domain_name,
                    session_type=spec.session_type,
                    cluster_mode=spec.cluster_mode,
                    status=SessionStatus.PENDING,
                )
                db_sess.add(row)
                await db_sess.flush()
                return row
        except sa.exc.IntegrityError as error:
            if "duplicate key" in str(error):
                raise SessionAlreadyExists(str(spec.session_id)) from error
            raise

    async def update_status(self, session_id: SessionId, status: SessionStatus) -> None:
        async with self._db.begin_session() as db_sess:
            await self._update_status(db_sess, session_id, status)

    async def update_status_while_reading(self, session_id: SessionId, status: SessionStatus) -> None:
        async with self._db.begin_readonly_session() as db_sess:
            await self._update_status(db_sess, session_id, status)

    async def _fetch_session(self, db_sess: SASession, session_id: SessionId) -> Optional[SessionRow]:
        return await db_sess.scalar(sa.select(SessionRow).where(SessionRow.id == session_id))

    async def _fetch_kernels(self, db_sess: SASession, sessions: Sequence[SessionRow]) -> Sequence[KernelRow]:
        ids = [row.id for row in sessions]
        return (await db_sess.scalars(sa.select(KernelRow).where(KernelRow.session_id.in_(ids)))).all()

    async def _fetch_all(self, db_sess: SASession, access_key: AccessKey, limit: int) -> RawNotes:
        chosen = sa.select(SessionRow).where(SessionRow.access_key == access_key).limit(limit)
        sessions = (await db_sess.scalars(chosen)).all()
        return RawNotes(sessions, await self._fetch_kernels(db_sess, sessions))

    def _to_note(self, row: SessionRow, kernels: Sequence[KernelRow]) -> Note:
        count = sum(kernel.session_id == row.id for kernel in kernels)
        return Note(row.id, row.name, SessionStatus(row.status), count)

    async def _update_status(self, db_sess: SASession, session_id: SessionId, status: SessionStatus) -> None:
        await db_sess.execute(
            sa.update(SessionRow)
            .where(SessionRow.id == session_id)
            .values(status=status, status_changed_at=datetime.now(UTC))
        )


class NoteRepository:
    """Has its sources as fields; the cache is optional."""

    _db_source: NoteDBSource
    _cache_source: Optional[NoteDBSource]

    def __init__(self, db_source: NoteDBSource, cache_source: Optional[NoteDBSource] = None) -> None:
        self._db_source = db_source
        self._cache_source = cache_source

    async def get_note(self, session_id: SessionId) -> Note:
        if self._cache_source:
            return await self._cache_source.get_note(session_id)
        return await self._db_source.get_note(session_id)


class TestSources:
    @pytest.fixture
    def db_source(self, database_engine: ExtendedAsyncSAEngine) -> NoteDBSource:
        return NoteDBSource(database_engine)

    @pytest.fixture
    async def session_id(self, repositories: Repositories, spec: SessionCreationSpec) -> SessionId:
        return (await repositories.sessions.create_session(spec)).session_id

    async def test_a_public_method_reads_in_one_session_and_answers_with_a_struct(
        self, db_source: NoteDBSource, session_id: SessionId
    ) -> None:
        note = await NoteRepository(db_source=db_source).get_note(session_id)
        assert note == Note(session_id, "train", SessionStatus.PENDING, 1)

    async def test_what_is_not_there(self, db_source: NoteDBSource, spec: SessionCreationSpec) -> None:
        missing = SessionId(uuid4())
        assert await db_source.find_note(missing) is None
        with pytest.raises(SessionNotFound):
            await NoteRepository(db_source, cache_source=db_source).get_note(missing)

    async def test_read_once_transform_many(
        self, db_source: NoteDBSource, session_id: SessionId, spec: SessionCreationSpec
    ) -> None:
        assert [note.kernel_count for note in await db_source.list_by_access_key(spec.access_key)] == [1]

    async def test_a_row_is_created_and_outlives_its_session(
        self, db_source: NoteDBSource, spec: SessionCreationSpec
    ) -> None:
        row = await db_source.create(spec)
        assert (row.id, row.name, row.status) == (spec.session_id, "train", SessionStatus.PENDING)
        assert await db_source.find_note(spec.session_id) is not None

    async def test_a_duplicate_is_an_error_of_its_own(
        self, db_source: NoteDBSource, session_id: SessionId, spec: SessionCreationSpec
    ) -> None:
        with pytest.raises(SessionAlreadyExists) as raised:
            await db_source.create(spec)
        assert isinstance(raised.value.__cause__, sa.exc.IntegrityError)

    async def test_an_update(self, db_source: NoteDBSource, session_id: SessionId) -> None:
        await db_source.update_status(session_id, SessionStatus.CANCELLED)
        assert (await db_source.get_note(session_id)).status is SessionStatus.CANCELLED

    async def test_a_read_only_session_writes_nothing(
        self, db_source: NoteDBSource, session_id: SessionId
    ) -> None:
        with pytest.raises(DatabaseReadOnly):
            await db_source.update_status_while_reading(session_id, SessionStatus.CANCELLED)
        assert (await db_source.get_note(session_id)).status is SessionStatus.PENDING
