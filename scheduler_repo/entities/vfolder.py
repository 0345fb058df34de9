"""Virtual folders as repositories answer with them."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.types import MountPermission, ProjectId, UserId, VFolderId


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
