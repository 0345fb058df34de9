"""Sessions and what they depend on."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    UserId,
)


class SessionRow(Base):
    """One unit of work, placed all or nothing."""

    __tablename__ = "sessions"

    id: Mapped[SessionId] = mapped_column(primary_key=True)
    name: Mapped[str]
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    access_key: Mapped[AccessKey]
    user_id: Mapped[UserId]
    project_id: Mapped[ProjectId]
    domain_name: Mapped[DomainName]
    session_type: Mapped[str] = mapped_column(ORDERED_TEXT)
    cluster_mode: Mapped[str] = mapped_column(ORDERED_TEXT)
    priority: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("10"))
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=SessionStatus.PENDING.value)
    result: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    designated_agent_ids: Mapped[list[AgentId]] = mapped_column(ARRAY(ORDERED_TEXT), server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    requested_start_at: Mapped[Optional[datetime]]
    has_dependencies: Mapped[bool] = mapped_column(server_default=sa.false())
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    retry_count: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("0"))
    failed_agent_ids: Mapped[list[AgentId]] = mapped_column(ARRAY(ORDERED_TEXT), server_default="{}")
    dispatched_at: Mapped[Optional[datetime]]


class SessionDependencyRow(Base):
    """One session that waits for another; the other may have been purged."""

    __tablename__ = "session_dependencies"

    session_id: Mapped[SessionId] = mapped_column(
        sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    depends_on: Mapped[SessionId] = mapped_column(primary_key=True, index=True)
