"""Virtual folders, and how sessions mount them."""

from datetime import datetime
from typing import Optional
from uuid import uuid4

import msgspec

from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import MountPermission, ProjectId, UserId, VFolderId


class VFolder(msgspec.Struct, frozen=True):
    """A folder on a storage host; either a user or a project owns it, the other is None."""

    vfolder_id: VFolderId
    name: str
    host: str
    user_id: Optional[UserId]
    project_id: Optional[ProjectId]
    created_at: datetime


class MountedVFolder(msgspec.Struct, frozen=True):
    """A folder that a session mounts: at which path, with which permission."""

    vfolder: VFolder
    mount_path: str
    permission: MountPermission


class VFolderSpec(Spec, frozen=True, kw_only=True):
    """A folder to create on a storage host; give the user or the project that owns it, not both."""

    name: str
    host: str
    user_id: Optional[UserId] = None
    project_id: Optional[ProjectId] = None
    vfolder_id: VFolderId = msgspec.field(default_factory=lambda: VFolderId(uuid4()))


class MountSpec(Spec, frozen=True, kw_only=True):
    """A folder for a session to mount; a path holds one folder."""

    vfolder_id: VFolderId
    mount_path: str
    permission: MountPermission = MountPermission.READ_WRITE
