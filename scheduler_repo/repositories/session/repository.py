"""Sessions."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.paging import DEFAULT_PAGE, Cursor, Page
from scheduler_repo.entities.session import (
    Session,
    SessionCreationResult,
    SessionCreationSpec,
    SessionFilter,
    SessionInfo,
    SessionOrder,
    SessionWithDependencies,
)
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import (
    AccessKey,
    OperationId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    TransactionId,
)

if TYPE_CHECKING:
    from scheduler_repo.repositories.session.cache_source import SessionCacheSource

_resilience = layer_resilience(LayerType.SESSION_REPOSITORY, retries=False)


class SessionRepository:
    """Finds, lists, creates and changes sessions.

    With a cache source, single sessions are read from it first. All raise the errors of the database layer.
    Writes take an ``operation_id``: asking again under the same one answers the same and writes nothing twice.
    Times are the database's clock, in UTC; amounts are in each slot's smallest unit, by slot index.
    """

    def __init__(self, db_source: SessionDBSource, cache_source: "Optional[SessionCacheSource]" = None) -> None:
        """Take the database source and, where single sessions are often read, a cache before it."""
        self._db_source = db_source
        self._cache_source = cache_source

    @_resilience.apply(OperationKind.READ)
    async def get_session_by_id(self, session_id: SessionId) -> Session:
        """Return a session, whatever its status.

        Raises SessionNotFound, and InvalidInput for an id that is no UUID. Costs one statement, none if it is
        cached.
        """
        return await (self._cache_source or self._db_source).get_session_by_id(session_id)

    @_resilience.apply(OperationKind.READ)
    async def find_session(self, session_id: SessionId) -> Optional[Session]:
        """Return a session, or None where there is none of this id.

        Raises InvalidInput for an id that is no UUID. Costs one statement, none if it is cached.
        """
        return await (self._cache_source or self._db_source).find_session(session_id)

    @_resilience.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return what lists show of a session, with the sum of what its kernels request.

        Raises SessionNotFound, and InvalidInput for an id that is no UUID. Costs one statement, none if it is
        cached.
        """
        return await (self._cache_source or self._db_source).get_session_info(session_id)

    @_resilience.apply(OperationKind.READ)
    async def get_session_with_dependencies(self, session_id: SessionId) -> SessionWithDependencies:
        """Return a session with its kernels, mounted vfolders, dependencies and dependants, at one instant.

        Raises SessionNotFound, and InvalidInput for an id that is no UUID. Costs five statements.
        """
        return await self._db_source.get_session_with_dependencies(session_id)

    @_resilience.apply(OperationKind.READ)
    async def list_sessions_by_access_key(
        self, access_key: AccessKey, limit: int = DEFAULT_PAGE
    ) -> tuple[SessionInfo, ...]:
        """List the newest sessions of an access key, the newest first; none if there is no such key.

        ``limit`` is at most 1,000; ``search_sessions`` goes on from there. Raises InvalidInput and
        InvalidLimit. Costs one statement.
        """
        return await self._db_source.list_sessions_by_access_key(access_key, limit)

    @_resilience.apply(OperationKind.READ)
    async def search_sessions(
        self,
        wanted: Optional[SessionFilter] = None,
        order: SessionOrder = SessionOrder.NEWEST_FIRST,
        limit: int = DEFAULT_PAGE,
        cursor: Optional[Cursor] = None,
    ) -> Page[SessionInfo]:
        """Answer one page of the sessions that a filter is for (None: all), by creation time, then id.

        ``limit`` is at most 1,000; ``cursor`` is ``next_cursor`` of the page before, None begins. No session is
        lost or repeated while others come and go; one that comes meanwhile may be seen or not. Raises
        InvalidFilter, InvalidLimit, and InvalidCursor for a cursor of another filter or order. Costs one
        statement; any page costs what the first does. By scaling group, access key, user, project, domain and
        time no more is read than is answered (for a user, of each of its keys; for a domain, of each of its
        projects); status, type and name are looked for among those.
        """
        return await self._db_source.search_sessions(wanted, order, limit, cursor)

    @_resilience.apply(OperationKind.READ)
    async def count_active_sessions_by_scaling_group(self, scaling_group: ScalingGroupName) -> int:
        """Count the sessions of a group that occupy agents: scheduled, preparing, running or terminating.

        Raises ScalingGroupNotFound and InvalidInput. Costs one statement; time grows with what occupies agents,
        not with history.
        """
        return await self._db_source.count_active_sessions_by_scaling_group(scaling_group)

    @_resilience.apply(OperationKind.WRITE)
    async def create_session(
        self, spec: SessionCreationSpec, operation_id: Optional[OperationId] = None
    ) -> SessionInfo:
        """Put one session into its group's queue and return it as it was created.

        Raises SessionAlreadyExists (or one of its kernels does), ScalingGroupNotFound, OwnerNotFound,
        VFolderNotFound, UnknownSlotType, InvalidQuantity, InvalidInput, OperationMismatch and OutcomeUnknown;
        then, save after OutcomeUnknown, nothing was written. Costs up to eleven statements.
        """
        return await self._db_source.create_session(spec, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def create_sessions(
        self, specs: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> SessionCreationResult:
        """Put each session that can be created into its group's queue, and say of the others why not.

        One that is refused keeps back no other, whoever creates the same at the same time. Raises InvalidInput
        for what is no spec or has a session id that is no UUID, OperationMismatch and OutcomeUnknown. Costs up
        to eleven statements, whatever the number; all or none, and somewhat faster, is ``enqueue_sessions``.
        """
        return await self._db_source.create_sessions(specs, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def enqueue_sessions(
        self, sessions: Sequence[SessionCreationSpec], operation_id: Optional[OperationId] = None
    ) -> tuple[SessionId, ...]:
        """Put sessions into their groups' queues, all or none, and return their ids in the order given.

        Raises SessionAlreadyExists, ScalingGroupNotFound, OwnerNotFound, VFolderNotFound, UnknownSlotType,
        InvalidQuantity, InvalidInput, OperationMismatch and OutcomeUnknown. Costs eight statements, one more if
        any session mounts a vfolder, whatever the number.
        """
        return await self._db_source.enqueue_sessions(sessions, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def update_status(
        self,
        session_id: SessionId,
        status: SessionStatus,
        reason: Optional[str] = None,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> TransactionId:
        """Move one session, with its kernels, to a status, and say in which transaction.

        By the table of transitions, as a compare-and-set that leaves a history row; what the status does not
        occupy is given back to the agents. A snapshot that includes the transaction has seen it. Raises
        SessionNotFound, InvalidTransition, InvalidInput (SCHEDULED is by allocate_sessions() only; the lease is
        of another group), StaleLeaseError, OperationMismatch, OutcomeUnknown, and DatabaseError where an
        agent's counters have drifted; then, save after OutcomeUnknown, nothing was written. Costs up to twelve
        statements; many sessions at once are cheaper by LifecycleRepository.
        """
        return await self._db_source.update_status(session_id, status, reason, lease, operation_id)
