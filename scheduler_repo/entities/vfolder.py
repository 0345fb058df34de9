"""Virtual folders as repositories answer with them."""

from datetime import datetime
from typing import Optional
from uuid import uuid4

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    MountPermission,
    ProjectId,
    UserId,
    VFolderId,
)


class VFolder(msgspec.Struct, frozen=True):
    """A folder on a storage host; a user owns it or a project, the other is None."""

    vfolder_id: VFolderId
    name: str
    host: str
    user_id: Optional[UserId]
    project_id: Optional[ProjectId]
    created_at: datetime


class MountedVFolder(msgspec.Struct, frozen=True):
    """A folder as one session sees it: where, and what it may do there."""

    vfolder: VFolder
    mount_path: str
    permission: MountPermission


def _new_vfolder_id() -> VFolderId:
    return VFolderId(uuid4())


class VFolderSpec(Spec, frozen=True, kw_only=True):
    """A folder on a storage host, of a user or of a project: one of the two is given."""

    name: str
    host: str
    user_id: Optional[UserId] = None
    project_id: Optional[ProjectId] = None
    vfolder_id: VFolderId = msgspec.field(default_factory=_new_vfolder_id)


class MountSpec(Spec, frozen=True, kw_only=True):
    """A folder that a session mounts; a path holds one folder."""

    vfolder_id: VFolderId
    mount_path: str
    permission: MountPermission = MountPermission.READ_WRITE
