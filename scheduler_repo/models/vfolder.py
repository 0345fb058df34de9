"""Virtual folders, and which session mounts them where."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import ProjectId, SessionId, UserId, VFolderId


class VFolderRow(Base):
    """A folder of a user or of a project."""

    __tablename__ = "vfolders"

    id: Mapped[VFolderId] = mapped_column(primary_key=True)
    name: Mapped[str]
    host: Mapped[str]
    user_id: Mapped[Optional[UserId]] = mapped_column(sa.ForeignKey("users.id"), index=True)
    project_id: Mapped[Optional[ProjectId]] = mapped_column(sa.ForeignKey("projects.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class SessionVFolderMountRow(Base):
    """One folder in one session."""

    __tablename__ = "session_vfolder_mounts"

    session_id: Mapped[SessionId] = mapped_column(
        sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    vfolder_id: Mapped[VFolderId] = mapped_column(sa.ForeignKey("vfolders.id"), index=True)
    mount_path: Mapped[str] = mapped_column(primary_key=True)
    permission: Mapped[str] = mapped_column(ORDERED_TEXT)
