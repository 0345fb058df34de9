"""Kernels: the containers of sessions, and the slots that they hold."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    UserId,
)


class KernelRow(Base):
    """One container of a session; its owner columns are the session's."""

    __tablename__ = "kernels"

    id: Mapped[KernelId] = mapped_column(primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(sa.ForeignKey("sessions.id", ondelete="CASCADE"))
    kernel_index: Mapped[int] = mapped_column(sa.Integer)
    scaling_group: Mapped[ScalingGroupName]
    access_key: Mapped[AccessKey]
    user_id: Mapped[UserId]
    project_id: Mapped[ProjectId]
    domain_name: Mapped[DomainName]
    image: Mapped[str] = mapped_column(server_default="")
    architecture: Mapped[Optional[Architecture]]
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=SessionStatus.PENDING.value)
    agent_id: Mapped[Optional[AgentId]] = mapped_column(sa.ForeignKey("agents.id"))
    requested_slots: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    occupied_slots: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    exit_code: Mapped[Optional[int]] = mapped_column(sa.Integer)
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
