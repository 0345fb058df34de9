"""Sessions in PostgreSQL."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import SLOT_TYPES, no_such_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.filtering import checked_filter
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page, check_limit
from scheduler_repo.entities.session import (
    Session,
    SessionCreationResult,
    SessionCreationSpec,
    SessionFilter,
    SessionInfo,
    SessionOrder,
    SessionQuestion,
    SessionWithDependencies,
    check_order,
)
from scheduler_repo.errors import InvalidInput, SessionNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.repositories.kernel.db_source import KERNELS_OF_SESSION
from scheduler_repo.repositories.lifecycle.changing import Move, SessionChange, change_batch
from scheduler_repo.repositories.session.creating import (
    check_answerable,
    check_sessions,
    create_batch,
    insert_sessions,
)
from scheduler_repo.repositories.session.searching import Search, fetch_page
from scheduler_repo.repositories.session.transforms import (
    RawSession,
    infos_of,
    session_of,
    session_with_dependencies,
)
from scheduler_repo.repositories.vfolder.db_source import SESSION_MOUNTS
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.types import (
    AccessKey,
    OperationId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    TransactionId,
)
from scheduler_repo.validation import check_ids, check_lease, check_name, check_text

if TYPE_CHECKING:
    from scheduler_repo.database.engine import SASession

SESSION_BY_ID = load_statement("session/session_by_id")
SESSION_INFO = load_statement("session/session_info")
SESSION_DEPENDENCIES = load_statement("session/session_dependencies")
SESSION_DEPENDANTS = load_statement("session/session_dependants")
COUNT_ACTIVE_SESSIONS = load_statement("session/count_active_sessions")

_ENQUEUE_SESSIONS = IdempotentWrite("enqueue_sessions", tuple[SessionId, ...])
_CREATE_SESSION = IdempotentWrite("create_session", SessionInfo)
_CREATE_SESSIONS = IdempotentWrite("create_sessions", SessionCreationResult)
_UPDATE_STATUS = IdempotentWrite("update_session_status", TransactionId)

_CURSORS: Final = CursorCodec("search_sessions", tuple[datetime, SessionId])

_resilience = layer_resilience(LayerType.SESSION_DB_SOURCE)


class SessionDBSource:
    """Finds, lists, creates and changes sessions."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @property
    def engine(self) -> ExtendedAsyncSAEngine:
        """The engine, for a cache source: to be told what is written through it."""
        return self._engine

    @_resilience.apply(OperationKind.READ)
    async def get_session_by_id(self, session_id: SessionId) -> Session:
        """Return a session; raises SessionNotFound and InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SESSION_BY_ID, session_id)
        if not rows:
            raise _no_such_session(session_id)
        return session_of(rows[0])

    @_resilience.apply(OperationKind.READ)
    async def find_session(self, session_id: SessionId) -> Optional[Session]:
        """Return a session, None if there is none; raises InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SESSION_BY_ID, session_id)
        return session_of(rows[0]) if rows else None

    @_resilience.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return what lists show of a session; raises SessionNotFound and InvalidInput. Costs one statement."""
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, SESSION_INFO, session_id)
        if not rows:
            raise _no_such_session(session_id)
        return infos_of(rows)[0]

    @_resilience.apply(OperationKind.READ)
    async def get_session_with_dependencies(self, session_id: SessionId) -> SessionWithDependencies:
        """Return a session with all that belongs to it, of one snapshot.

        Raises SessionNotFound and InvalidInput. Costs five statements.
        """
        check_ids("session", (session_id,))
        async with self._engine.begin_readonly_session() as db_sess:
            raw = await self._fetch_with_dependencies(db_sess, session_id)
        return session_with_dependencies(raw)

    @_resilience.apply(OperationKind.READ)
    async def list_sessions_by_access_key(
        self, access_key: AccessKey, limit: int = DEFAULT_PAGE
    ) -> tuple[SessionInfo, ...]:
        """List the newest sessions of an access key; raises InvalidInput, InvalidLimit. Costs one statement."""
        check_name(access_key, "access key")
        check_limit(limit)
        search = Search(SessionFilter(access_key=access_key), SessionOrder.NEWEST_FIRST, limit, None)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_page(db_sess, search)
        return infos_of(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_sessions(
        self,
        wanted: Optional[SessionFilter] = None,
        order: SessionOrder = SessionOrder.NEWEST_FIRST,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[SessionInfo]:
        """Answer one page of a search; raises InvalidFilter, InvalidLimit and InvalidCursor.

        Costs one statement.
        """
        asked = checked_filter(wanted, SessionFilter)
        check_order(order)
        check_limit(limit)
        question = SessionQuestion(asked.in_one_spelling(), order)
        after = None if cursor is None else _CURSORS.decode(question, cursor)
        # One more than asked for says whether there is another page.
        search = Search(asked, order, limit + 1, after)
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_page(db_sess, search)
        items = infos_of(rows[:limit])
        if len(rows) <= limit:
            return Page(items, None)
        return Page(items, _CURSORS.encode(question, (items[-1].created_at, items[-1].session_id)))

    @_resilience.apply(OperationKind.READ)
    async def count_active_sessions_by_scaling_group(self, scaling_group: ScalingGroupName) -> int:
        """Count the sessions of a group that occupy agents; raises ScalingGroupNotFound and InvalidInput.

        Costs one statement; time grows with the sessions that occupy agents, of all groups.
        """
        check_name(scaling_group, "scaling group")
        async with self._engine.begin_readonly_session() as db_sess:
            rows = await fetch_rows(db_sess, COUNT_ACTIVE_SESSIONS, scaling_group)
        if not rows:
            raise no_such_group(scaling_group)
        count: int = rows[0][0]
        return count

    @_resilience.apply(OperationKind.WRITE)
    async def create_session(
        self, spec: SessionCreationSpec, operation_id: Optional[OperationId] = None
    ) -> SessionInfo:
        """Put one session into its group's queue; raises the error of what stands against it.

        Costs up to eleven statements.
        """
        check_sessions((spec,))

        async def create(write: WriteTransaction) -> SessionInfo:
            batch = await create_batch(write.db_sess, (spec,))
            for rejection in batch.rejected:
                raise rejection.to_error()
            write.changed_sessions.add(spec.session_id)
            return batch.info_of(spec)

        return await _CREATE_SESSION.run(self._engine, create, request=spec, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def create_sessions(
        self, specs: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> SessionCreationResult:
        """Put each session that can be created into its group's queue, and say why of the others.

        Raises InvalidInput for what is no spec or has an id that is none, OperationMismatch and OutcomeUnknown.
        Costs up to eleven statements, whatever the number.
        """
        check_answerable(specs)
        if not specs:
            return SessionCreationResult((), ())

        async def create(write: WriteTransaction) -> SessionCreationResult:
            batch = await create_batch(write.db_sess, specs)
            created = {spec.session_id: None for spec in specs if spec.session_id in batch.times}
            write.changed_sessions.update(created)
            return SessionCreationResult(tuple(created), tuple(batch.rejected), write.transaction_id)

        return await _CREATE_SESSIONS.run(self._engine, create, request=specs, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def enqueue_sessions(
        self, sessions: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, VFolderNotFound, UnknownSlotType,
        InvalidQuantity, InvalidInput, OperationMismatch and OutcomeUnknown. Costs eight statements, one more if
        any session mounts a vfolder, whatever the number.
        """
        check_sessions(sessions)
        if not sessions:
            return ()

        async def enqueue(write: WriteTransaction) -> tuple[SessionId, ...]:
            slot_types = slot_types_by_index(await fetch_rows(write.db_sess, SLOT_TYPES))
            await insert_sessions(write.db_sess, sessions, [slot_type.name for slot_type in slot_types])
            session_ids = tuple(session.session_id for session in sessions)
            write.changed_sessions.update(session_ids)
            return session_ids

        return await _ENQUEUE_SESSIONS.run(self._engine, enqueue, request=sessions, operation_id=operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def update_status(
        self,
        session_id: SessionId,
        status: SessionStatus,
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransactionId:
        """Move one session, with its kernels, to a status, by the table of transitions.

        Raises SessionNotFound, InvalidTransition, InvalidInput (SCHEDULED is by allocate_sessions() only; the
        lease is of another group), StaleLeaseError, OperationMismatch, OutcomeUnknown and DatabaseError where
        counters have drifted. Costs up to twelve statements.
        """
        check_ids("session", (session_id,))
        if not isinstance(status, SessionStatus):
            raise InvalidInput(
                f"status {quoted(status)} is none; give a SessionStatus: {', '.join(SessionStatus)}"
            )
        if status is SessionStatus.SCHEDULED:
            raise InvalidInput(
                f"session {session_id} becomes SCHEDULED by allocate_sessions() only, which says where"
            )
        if reason is not None:
            check_text(reason, "the reason")
        check_lease(lease)
        move = Move(status, reason, scaling_group=None if lease is None else lease.scaling_group)

        async def update(write: WriteTransaction) -> TransactionId:
            result = await change_batch(write, move, (SessionChange(session_id),))
            for rejection in result.rejected:
                raise rejection.to_error()
            return write.transaction_id

        return await _UPDATE_STATUS.run(
            self._engine,
            update,
            request=(session_id, status, reason),
            operation_id=operation_id,
            lease=lease,
        )

    async def _fetch_with_dependencies(self, db_sess: "SASession", session_id: SessionId) -> RawSession:
        sessions = await fetch_rows(db_sess, SESSION_BY_ID, session_id)
        if not sessions:
            raise _no_such_session(session_id)
        return RawSession(
            session=sessions[0],
            kernels=await fetch_rows(db_sess, KERNELS_OF_SESSION, session_id),
            mounts=await fetch_rows(db_sess, SESSION_MOUNTS, session_id),
            dependencies=await fetch_rows(db_sess, SESSION_DEPENDENCIES, session_id),
            dependants=await fetch_rows(db_sess, SESSION_DEPENDANTS, session_id),
        )


def _no_such_session(session_id: SessionId) -> SessionNotFound:
    return SessionNotFound(
        f"there is no session {session_id}; correct the id, or it was purged after it had ended"
    )
