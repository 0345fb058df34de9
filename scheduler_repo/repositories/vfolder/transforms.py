"""Rows of vfolders as structs."""

from typing import TYPE_CHECKING

from scheduler_repo.entities.vfolder import MountedVFolder, VFolder
from scheduler_repo.types import MountPermission

if TYPE_CHECKING:
    from asyncpg import Record


def vfolder_of(row: "Record") -> VFolder:
    """Make a vfolder of a row that has its columns."""
    return VFolder(
        vfolder_id=row["id"],
        name=row["name"],
        host=row["host"],
        user_id=row["user_id"],
        project_id=row["project_id"],
        created_at=row["created_at"],
    )


def mount_of(row: "Record") -> MountedVFolder:
    """Make a mounted vfolder of a row of session_mounts.sql."""
    return MountedVFolder(vfolder_of(row), row["mount_path"], MountPermission(row["permission"]))
