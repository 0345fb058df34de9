"""The statements of sessions; the reads that a cache stands before have a transaction of their own."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.identity import record_connection
from scheduler_repo.database.session_search import SessionSearch
from scheduler_repo.database.statements import Statement, fetch_rows, load_statement
from scheduler_repo.entities.session import (
    Session,
    SessionCreationSpec,
    SessionInfo,
    SessionState,
    SessionWithDependencies,
)
from scheduler_repo.errors import SessionNotFound
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct

# A session is answered with its kernels and mounts, whose rows their own sources describe.
from scheduler_repo.repositories.kernel.db_source import KERNELS_OF_SESSION, kernel_from_row
from scheduler_repo.repositories.session.creation import CreatedSessions, create_sessions, insert_sessions
from scheduler_repo.repositories.vfolder.db_source import SESSION_MOUNTS, mount_from_row
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.snapshot.pending import dependencies_of
from scheduler_repo.types import (
    ScalingGroupName,
    SessionId,
    SlotName,
)
from scheduler_repo.validation import check_id

if TYPE_CHECKING:
    from asyncpg import Record

SESSION_BY_ID = load_statement("session/session_by_id")
SESSION_INFO = load_statement("session/session_info")
SESSION_STATE = load_statement("session/session_state")
SESSION_DEPENDENCIES = load_statement("session/session_dependencies")
SESSION_DEPENDANTS = load_statement("session/session_dependants")
COUNT_ACTIVE_SESSIONS = load_statement("session/count_active_sessions")

_resilience = layer_resilience(LayerType.SESSION_DB_SOURCE)


class RawSession(NamedTuple):
    """The rows of one session and of all that belongs to it, of one snapshot."""

    session: "Record"
    kernels: "list[Record]"
    mounts: "list[Record]"
    dependencies: "list[Record]"
    dependants: "list[Record]"


class SessionDBSource(DBSource):
    """Finds, searches and creates sessions."""

    @_resilience.apply(OperationKind.READ)
    async def get_session_by_id(self, session_id: SessionId) -> Session:
        """Return a session; raises SessionNotFound and InvalidInput. Costs one statement."""
        return session_from_row(_only(await self._read(SESSION_BY_ID, session_id), session_id))

    @_resilience.apply(OperationKind.READ)
    async def find_session(self, session_id: SessionId) -> Optional[Session]:
        """Return a session, or None if there is none; raises InvalidInput. Costs one statement."""
        rows = await self._read(SESSION_BY_ID, session_id)
        return session_from_row(rows[0]) if rows else None

    @_resilience.apply(OperationKind.READ)
    async def get_session_info(self, session_id: SessionId) -> SessionInfo:
        """Return a session as lists show it; raises SessionNotFound and InvalidInput. Costs one statement."""
        return session_info_from_row(_only(await self._read(SESSION_INFO, session_id), session_id))

    async def _read(self, statement: Statement, session_id: SessionId) -> "list[Record]":
        check_id(session_id, "session")
        async with self.engine.begin_readonly_session() as db_sess:
            await record_connection(self.engine, db_sess)
            return await fetch_rows(db_sess, statement, session_id)

    async def get_session_state(self, db_sess: SASession, session_id: SessionId) -> "Record":
        """Find a session's status and agents; raises SessionNotFound. Costs one statement."""
        return _only(await fetch_rows(db_sess, SESSION_STATE, session_id), session_id)

    async def get_session_with_dependencies(self, db_sess: SASession, session_id: SessionId) -> RawSession:
        """Find a session and all that belongs to it; raises SessionNotFound. Costs five statements."""
        return RawSession(
            session=_only(await fetch_rows(db_sess, SESSION_BY_ID, session_id), session_id),
            kernels=await fetch_rows(db_sess, KERNELS_OF_SESSION, session_id),
            mounts=await fetch_rows(db_sess, SESSION_MOUNTS, session_id),
            dependencies=await fetch_rows(db_sess, SESSION_DEPENDENCIES, session_id),
            dependants=await fetch_rows(db_sess, SESSION_DEPENDANTS, session_id),
        )

    async def search_sessions(self, db_sess: SASession, search: SessionSearch) -> "list[Record]":
        """Run a search. Costs one statement."""
        return await fetch_rows(db_sess, search.statement, *search.parameters)

    async def count_active_sessions(self, db_sess: SASession, scaling_group: ScalingGroupName) -> Optional[int]:
        """Count a group's sessions that occupy agents; None if there is no such group. Costs one statement."""
        rows = await fetch_rows(db_sess, COUNT_ACTIVE_SESSIONS, scaling_group)
        return rows[0][0] if rows else None

    async def insert_sessions(
        self, db_sess: SASession, specs: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]
    ) -> None:
        """Add checked sessions, all or none; raises and costs what ``creation.insert_sessions`` does."""
        await insert_sessions(db_sess, specs, slot_names)

    async def create_sessions(
        self, db_sess: SASession, specs: Sequence[SessionCreationSpec]
    ) -> CreatedSessions:
        """Add each session of a batch that can be created; costs what ``creation.create_sessions`` does."""
        return await create_sessions(db_sess, specs)


def _only(rows: "list[Record]", session_id: SessionId) -> "Record":
    if not rows:
        advice = "correct the id, or it was purged after it had ended"
        raise SessionNotFound(f"there is no session {session_id}", advice=advice, session_id=session_id)
    return rows[0]


def session_from_row(row: "Record") -> Session:
    """Build a session from a row of session_by_id.sql."""
    designated, failed = sorted(row["designated_agent_ids"]), sorted(row["failed_agent_ids"])
    named = {"session_id": row["id"], "designated_agent_ids": designated, "failed_agent_ids": failed}
    return build_struct(Session, row, **named)


def session_info_from_row(row: "Record") -> SessionInfo:
    """Build a session as lists show it from a row of session_info.sql or of a search."""
    # The driver reads a sum as a Decimal.
    slots = [int(amount) for amount in row["requested_slots"]]
    return build_struct(SessionInfo, row, session_id=row["id"], requested_slots=slots)


SESSION_INFOS: Final = RowReader("session", session_info_from_row)


def session_state_from_row(row: "Record") -> SessionState:
    """Build a session's state from a row of session_state.sql."""
    return build_struct(SessionState, row)


def session_with_dependencies_from_rows(raw: RawSession) -> SessionWithDependencies:
    """Build one session with all that belongs to it."""
    return SessionWithDependencies(
        session=session_from_row(raw.session),
        kernels=tuple(map(kernel_from_row, raw.kernels)),
        mounts=tuple(map(mount_from_row, raw.mounts)),
        dependencies=dependencies_of(raw.dependencies, raw.session["id"]),
        dependants=tuple(row["session_id"] for row in raw.dependants),
    )
