"""What happened to agents, sessions and kernels; rows are only ever added, and purged."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import AgentId, KernelId, SessionId


class AgentHistoryRow(Base):
    """One change of an agent's status."""

    __tablename__ = "agent_history"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    agent_id: Mapped[AgentId] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"))
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)


class SessionHistoryRow(Base):
    """One change of a session's status, or of one kernel's where ``kernel_id`` is set."""

    __tablename__ = "session_history"

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    session_id: Mapped[SessionId]
    kernel_id: Mapped[Optional[KernelId]]
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
