"""The statements of virtual folders."""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal, Optional, Union

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.vfolder import MountedVFolder, VFolder, VFolderSpec
from scheduler_repo.repositories.db_source import DBSource, RowReader, build_struct
from scheduler_repo.types import MountPermission, ProjectId, SessionId, UserId, VFolderId

if TYPE_CHECKING:
    from asyncpg import Record

VFOLDER_BY_ID = load_statement("vfolder/vfolder_by_id")
VFOLDERS_OF_USER = load_statement("vfolder/vfolders_of_user")
VFOLDERS_OF_PROJECT = load_statement("vfolder/vfolders_of_project")
SESSION_MOUNTS = load_statement("vfolder/session_mounts")

VFolderOwner = Literal["user", "project"]
_COLUMNS: Final = ("id", "name", "host", "user_id", "project_id")


class VFolderDBSource(DBSource):
    """Creates, finds and lists vfolders, and what sessions mount of them; each method costs one statement."""

    async def insert_vfolders(self, db_sess: SASession, vfolders: Sequence[VFolderSpec]) -> None:
        """Add vfolders, all or none."""
        # In one order: of two callers with the same folders the second waits, instead of deadlocking.
        ordered = sorted(vfolders, key=attrgetter("vfolder_id.int"))
        rows = ((each.vfolder_id, each.name, each.host, each.user_id, each.project_id) for each in ordered)
        await copy_rows(db_sess, "vfolders", _COLUMNS, rows)

    async def find_vfolder(self, db_sess: SASession, vfolder_id: VFolderId) -> "Optional[Record]":
        """Find one vfolder."""
        rows = await fetch_rows(db_sess, VFOLDER_BY_ID, vfolder_id)
        return rows[0] if rows else None

    async def list_vfolders(
        self,
        db_sess: SASession,
        owner: VFolderOwner,
        owner_id: Union[UserId, ProjectId],
        after: Optional[VFolderId],
        limit: int,
    ) -> "list[Record]":
        """List the vfolders of a user or of a project by id, those behind ``after``."""
        statement = VFOLDERS_OF_USER if owner == "user" else VFOLDERS_OF_PROJECT
        return await fetch_rows(db_sess, statement, owner_id, after, limit)

    async def list_mounts_of_session(self, db_sess: SASession, session_id: SessionId) -> "list[Record]":
        """List what a session mounts, by path."""
        return await fetch_rows(db_sess, SESSION_MOUNTS, session_id)


def vfolder_from_row(row: "Record") -> VFolder:
    """Build a vfolder from a row that has its columns."""
    return build_struct(VFolder, row, vfolder_id=row["id"])


def mount_from_row(row: "Record") -> MountedVFolder:
    """Build a mounted vfolder from a row of session_mounts.sql."""
    return MountedVFolder(vfolder_from_row(row), row["mount_path"], MountPermission(row["permission"]))


MOUNTS: Final = RowReader("mounted vfolder", mount_from_row)
