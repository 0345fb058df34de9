"""Rows of sessions as structs; run after the connection is given back."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.entities.session import Session, SessionInfo, SessionWithDependencies
from scheduler_repo.repositories.kernel.db_source import kernel_from_row
from scheduler_repo.repositories.vfolder.db_source import mount_from_row
from scheduler_repo.types import ClusterMode, SessionResult, SessionStatus, SessionType

if TYPE_CHECKING:
    from asyncpg import Record


class RawSession(NamedTuple):
    """The rows of one session and of all that belongs to it, of one snapshot."""

    session: "Record"
    kernels: "list[Record]"
    mounts: "list[Record]"
    dependencies: "list[Record]"
    dependants: "list[Record]"


def session_of(row: "Record") -> Session:
    """Make a session of a row of session_by_id.sql."""
    return Session(
        session_id=row["id"],
        name=row["name"],
        scaling_group=row["scaling_group"],
        access_key=row["access_key"],
        user_id=row["user_id"],
        project_id=row["project_id"],
        domain_name=row["domain_name"],
        session_type=SessionType(row["session_type"]),
        cluster_mode=ClusterMode(row["cluster_mode"]),
        priority=row["priority"],
        status=SessionStatus(row["status"]),
        result=None if row["result"] is None else SessionResult(row["result"]),
        created_at=row["created_at"],
        status_changed_at=row["status_changed_at"],
        requested_start_at=row["requested_start_at"],
        dispatched_at=row["dispatched_at"],
        retry_count=row["retry_count"],
        designated_agent_ids=tuple(sorted(row["designated_agent_ids"])),
        failed_agent_ids=tuple(sorted(row["failed_agent_ids"])),
    )


def infos_of(rows: "Iterable[Record]") -> tuple[SessionInfo, ...]:
    """Make what lists show of rows of session_info.sql or of a search."""
    return tuple(
        SessionInfo(
            session_id=row["id"],
            name=row["name"],
            scaling_group=row["scaling_group"],
            access_key=row["access_key"],
            session_type=SessionType(row["session_type"]),
            status=SessionStatus(row["status"]),
            result=None if row["result"] is None else SessionResult(row["result"]),
            created_at=row["created_at"],
            status_changed_at=row["status_changed_at"],
            requested_slots=tuple(map(int, row["requested_slots"])),
        )
        for row in rows
    )


def session_with_dependencies(raw: RawSession) -> SessionWithDependencies:
    """Put one session together."""
    return SessionWithDependencies(
        session=session_of(raw.session),
        kernels=tuple(map(kernel_from_row, raw.kernels)),
        mounts=tuple(map(mount_from_row, raw.mounts)),
        dependencies=tuple(map(_dependency_of, raw.dependencies)),
        dependants=tuple(row["session_id"] for row in raw.dependants),
    )


def _dependency_of(row: "Record") -> SessionDependency:
    status, result = row["status"], row["result"]
    return SessionDependency(
        row["depends_on"],
        None if status is None else SessionStatus(status),
        None if result is None else SessionResult(result),
    )
