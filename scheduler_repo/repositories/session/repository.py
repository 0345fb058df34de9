"""Sessions: found, searched, created, and moved from status to status."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Optional

import msgspec

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.database.lookups import fetch_slot_names, no_such_group
from scheduler_repo.database.row_locks import CHANGED_ROWS, find_locked_rows
from scheduler_repo.database.session_search import SessionSearch
from scheduler_repo.database.status_changes import change_statuses
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, CursorCodec, Page
from scheduler_repo.entities.session import (
    Session,
    SessionCreationResult,
    SessionCreationSpec,
    SessionFilter,
    SessionInfo,
    SessionOrder,
    SessionState,
    SessionWithDependencies,
)
from scheduler_repo.entities.spec import checked_filter
from scheduler_repo.errors import InvalidFilter, InvalidInput
from scheduler_repo.repositories.session.creation import build_created_info
from scheduler_repo.repositories.session.db_source import (
    SESSION_INFOS,
    SessionDBSource,
    session_state_from_row,
    session_with_dependencies_from_rows,
)
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.creation import check_session_ids, check_sessions
from scheduler_repo.scheduling.admission.transitions import SessionChange, StatusChange
from scheduler_repo.steps import finish_in_slices
from scheduler_repo.types import (
    AccessKey,
    OperationId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    TransactionId,
)
from scheduler_repo.validation import (
    check_id,
    check_kind,
    check_limit,
    check_name,
    check_reason,
)
from scheduler_repo.wiring import check_same_engine, check_wiring

if TYPE_CHECKING:
    from scheduler_repo.repositories.session.cache_source import SessionCacheSource

_resilience = layer_resilience(LayerType.SESSION_REPOSITORY)
# The sources retry by themselves.
_choosing = layer_resilience(LayerType.SESSION_REPOSITORY, retries=False)

_CREATE_SESSION = IdempotentWrite("create_session", SessionInfo)
_CREATE_SESSIONS = IdempotentWrite("create_sessions", SessionCreationResult)
_ENQUEUE_SESSIONS = IdempotentWrite("enqueue_sessions", tuple[SessionId, ...])
_UPDATE_STATUS = IdempotentWrite("update_session_status", TransactionId)


class _Search(msgspec.Struct, frozen=True):
    wanted: SessionFilter
    order: SessionOrder


_CURSORS: Final = CursorCodec("search_sessions", tuple[datetime, SessionId])


class SessionRepository:
    """Finds, lists, creates and changes sessions; all methods raise the errors of the database layer too.

    With a cache source, single sessions are read from it first. Writes take an ``operation_id``: asking again
    under the same one answers the same and writes nothing twice. ``limit`` is at most 1,000. Times are the
    database's clock, in UTC; amounts are in each slot's smallest unit, by slot index. An argument that is
    malformed, such as an id that is no UUID, raises InvalidInput.
    """

    def __init__(self, db_source: SessionDBSource, cache_source: "Optional[SessionCacheSource]" = None) -> None:
        """Raise InvalidWiring for what is no such source; a cache pays where single sessions are read often."""
        check_wiring(db_source, SessionDBSource, "db_source", "SessionDBSource(engine)")
        if cache_source is not None:
            # Only whoever uses a cache loads its client.
            from scheduler_repo.repositories.session.cache_source import SessionCacheSource

            advice = "SessionCacheSource(redis, db_source), or None"
            check_wiring(cache_source, SessionCacheSource, "cache_source", advice)
            check_same_engine(db_source.engine, cache_source.db_source.engine)
        self._db_source = db_source
        self._db = db_source.engine
        self._reads = db_source if cache_source is None else cache_source

    @_choosing.apply(OperationKind.READ)
    async def get_session_by_id(self, session_id: SessionId) -> Session:
        """Return a session in any status; raises SessionNotFound. Costs one statement, none if it is cached."""
        return await self._reads.get_session_by_id(session_id)

    @_choosing.apply(OperationKind.READ)
    async def find_session(self, session_id: SessionId) -> Optional[Session]:
        """Return a session, or None if no session has this id. Costs one statement, none if it is cached."""
        return await self._reads.find_session(session_id)

    @_choosing.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return a session as lists show it, with the sum of what its kernels request.

        Raises SessionNotFound. Costs one statement, none if it is cached.
        """
        return await self._reads.get_session_info(session_id)

    @_resilience.apply(OperationKind.READ)
    async def get_session_state(self, session_id: SessionId) -> SessionState:
        """Return a session's status now, and the agents of its kernels; never from a cache.

        Raises SessionNotFound. Costs one statement.
        """
        check_id(session_id, "session")
        async with self._db.begin_readonly_session() as db_sess:
            row = await self._db_source.get_session_state(db_sess, session_id)
        return session_state_from_row(row)

    @_resilience.apply(OperationKind.READ)
    async def get_session_with_dependencies(self, session_id: SessionId) -> SessionWithDependencies:
        """Return a session with its kernels, mounted vfolders, dependencies and dependants, at one instant.

        Raises SessionNotFound. Costs five statements.
        """
        check_id(session_id, "session")
        async with self._db.begin_readonly_session() as db_sess:
            raw = await self._db_source.get_session_with_dependencies(db_sess, session_id)
        return session_with_dependencies_from_rows(raw)

    @_resilience.apply(OperationKind.READ)
    async def list_sessions_by_access_key(
        self, access_key: AccessKey, limit: int = DEFAULT_PAGE
    ) -> tuple[SessionInfo, ...]:
        """List the newest sessions of an access key, the newest first; none if there is no such key.

        ``search_sessions`` reads on from there. Raises InvalidLimit. Costs one statement.
        """
        check_name(access_key, "access key")
        check_limit(limit)
        search = SessionSearch(SessionFilter(access_key=access_key), SessionOrder.NEWEST_FIRST, limit, None)
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.search_sessions(db_sess, search)
        return await SESSION_INFOS.read(rows)

    @_resilience.apply(OperationKind.READ)
    async def search_sessions(
        self,
        wanted: Optional[SessionFilter] = None,
        order: SessionOrder = SessionOrder.NEWEST_FIRST,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[SessionInfo]:
        """Return one page of the sessions that match a filter (None: all), by creation time, then id.

        ``cursor`` is ``next_cursor`` of the page before, None begins. No session is lost or repeated while
        others come and go; one that comes meanwhile may be seen or not. Raises InvalidFilter, InvalidLimit, and
        InvalidCursor for a cursor of another filter or order. Costs one statement; any page costs what the
        first does. By scaling group, access key, user, project, domain and time it reads no more than it
        answers (for a user, of each of its keys; for a domain, of each of its projects); it looks for status,
        type and name among those.
        """
        asked = checked_filter(wanted, SessionFilter)
        check_kind(order, SessionOrder, "order", InvalidFilter)
        check_limit(limit)
        question = _Search(asked.in_one_spelling(), order)
        after = None if cursor is None else _CURSORS.decode(question, cursor)
        search = SessionSearch(asked, order, limit + 1, after)
        async with self._db.begin_readonly_session() as db_sess:
            rows = await self._db_source.search_sessions(db_sess, search)
        return await SESSION_INFOS.page(
            _CURSORS, question, rows, limit, lambda row: (row["created_at"], row["id"])
        )

    @_resilience.apply(OperationKind.READ)
    async def count_active_sessions_by_scaling_group(self, scaling_group: ScalingGroupName) -> int:
        """Count the sessions of a group that occupy agents: scheduled, preparing, running or terminating.

        Raises ScalingGroupNotFound. Costs one statement; time grows with the sessions of all groups that occupy
        agents, not with history.
        """
        check_name(scaling_group, "scaling group")
        async with self._db.begin_readonly_session() as db_sess:
            count = await self._db_source.count_active_sessions(db_sess, scaling_group)
        if count is None:
            raise no_such_group(scaling_group)
        return count

    @_resilience.apply(OperationKind.READ)
    async def list_locked_rows(self, session_id: SessionId) -> tuple[RowLocked, ...]:
        """List the rows that a change of one session needs and that other transactions hold at this moment.

        Its own, its kernels', its reservation's and its owners' quotas; none for a session that does not exist.
        A batch leaves for later (ROW_LOCKED) what needs a row that stays locked. Raises InvalidInput and the
        errors of the database layer. Costs one statement.
        """
        check_id(session_id, "session")
        async with self._db.begin_readonly_session() as db_sess:
            found = await find_locked_rows(db_sess, [session_id], CHANGED_ROWS)
        return tuple(row for _, row in found)

    @_resilience.apply(OperationKind.WRITE)
    async def create_session(
        self, spec: SessionCreationSpec, *, operation_id: Optional[OperationId] = None
    ) -> SessionInfo:
        """Put one session into its group's queue and return it as it was created.

        Raises SessionAlreadyExists (it or one of its kernels), ScalingGroupNotFound, OwnerNotFound,
        VFolderNotFound, UnknownSlotType, InvalidQuantity, OperationMismatch and OutcomeUnknown; after all but
        OutcomeUnknown nothing was written. Costs up to eleven statements.
        """
        await finish_in_slices(check_sessions((spec,)))

        async def create(write: WriteTransaction) -> SessionInfo:
            created = await self._db_source.create_sessions(write.db_sess, (spec,))
            for rejection in created.rejected:
                raise rejection.to_error()
            write.changed_sessions.add(spec.session_id)
            return build_created_info(created)

        return await _CREATE_SESSION.run(
            self._db, create, request=spec, operation_id=operation_id, groups={spec.scaling_group}
        )

    @_resilience.apply(OperationKind.WRITE)
    async def create_sessions(
        self, specs: Sequence[SessionCreationSpec], *, operation_id: Optional[OperationId] = None
    ) -> SessionCreationResult:
        """Put each session that can be created into its group's queue, and say why the others were rejected.

        A rejected session holds back no other, whoever creates the same at the same time. Raises InvalidInput
        for what is no spec or has a session id that is no UUID, OperationMismatch and OutcomeUnknown. Costs up
        to eleven statements, whatever the number; ``enqueue_sessions`` is all or none, and somewhat faster.
        """
        check_session_ids(specs)
        if not specs:
            return SessionCreationResult((), ())

        async def create(write: WriteTransaction) -> SessionCreationResult:
            batch = await self._db_source.create_sessions(write.db_sess, specs)
            created = {spec.session_id: None for spec in specs if spec.session_id in batch.times}
            write.changed_sessions.update(created)
            return SessionCreationResult(tuple(created), batch.rejected, write.transaction_id)

        return await _CREATE_SESSIONS.run(
            self._db, create, request=specs, operation_id=operation_id, groups=_groups_of(specs)
        )

    @_resilience.apply(OperationKind.WRITE)
    async def enqueue_sessions(
        self, sessions: Sequence[SessionCreationSpec], *, operation_id: Optional[OperationId] = None
    ) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises what ``create_session`` does. Costs eight statements, one more if any session mounts a vfolder,
        whatever the number.
        """
        await finish_in_slices(check_sessions(sessions))
        if not sessions:
            return ()

        async def enqueue(write: WriteTransaction) -> tuple[SessionId, ...]:
            slot_names = await fetch_slot_names(write.db_sess)
            await self._db_source.insert_sessions(write.db_sess, sessions, slot_names)
            session_ids = tuple(session.session_id for session in sessions)
            write.changed_sessions.update(session_ids)
            return session_ids

        return await _ENQUEUE_SESSIONS.run(
            self._db, enqueue, request=sessions, operation_id=operation_id, groups=_groups_of(sessions)
        )

    @_resilience.apply(OperationKind.WRITE)
    async def update_status(
        self,
        session_id: SessionId,
        status: SessionStatus,
        reason: Optional[str] = None,
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransactionId:
        """Move one session, with its kernels, to a status, and return the transaction that did.

        The move goes by the table of transitions, as a compare-and-set that leaves a history row; what the new
        status does not occupy is given back to the agents. A snapshot that includes the transaction has seen
        it. Raises SessionNotFound, InvalidTransition, InvalidInput (SCHEDULED is set by allocate_sessions()
        only; the lease is of another group), StaleLeaseError, OperationMismatch, OutcomeUnknown, and
        DatabaseError where an agent's counters have drifted; after all but OutcomeUnknown nothing was written.
        Costs up to twelve statements; LifecycleRepository moves many sessions at once for less.
        """
        check_id(session_id, "session")
        check_kind(status, SessionStatus, "status")
        if status is SessionStatus.SCHEDULED:
            problem = "becomes SCHEDULED by allocate_sessions() only, which says where"
            raise InvalidInput(f"session {session_id} {problem}")
        check_reason(reason)
        check_lease(lease)
        target = StatusChange(status, reason, scaling_group=None if lease is None else lease.scaling_group)

        async def update(write: WriteTransaction) -> TransactionId:
            result = await change_statuses(write, target, (SessionChange(session_id),))
            for rejection in result.rejected:
                raise rejection.to_error()
            return write.transaction_id

        return await _UPDATE_STATUS.run(
            self._db, update, request=(session_id, status, reason), operation_id=operation_id, lease=lease
        )


def _groups_of(specs: Sequence[SessionCreationSpec]) -> set[ScalingGroupName]:
    return {spec.scaling_group for spec in specs}
