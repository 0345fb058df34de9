"""What happened to agents, sessions and kernels; rows are only ever added, and purged."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.models.checks import is_one_of
from scheduler_repo.types import AgentId, AgentStatus, KernelId, SessionId, SessionStatus


class AgentHistoryRow(Base):
    """One change of an agent's status."""

    __tablename__ = "agent_history"
    __table_args__ = (
        sa.CheckConstraint(is_one_of("from_status", AgentStatus), name="from_status"),
        sa.CheckConstraint(is_one_of("to_status", AgentStatus), name="to_status"),
        sa.Index("agent_history_agent_id_idx", "agent_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    agent_id: Mapped[AgentId] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"))
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)


class SessionHistoryRow(Base):
    """One change of a session's status, or of one kernel's where ``kernel_id`` is set."""

    __tablename__ = "session_history"
    __table_args__ = (
        sa.CheckConstraint(is_one_of("from_status", SessionStatus), name="from_status"),
        sa.CheckConstraint(is_one_of("to_status", SessionStatus), name="to_status"),
        sa.Index("session_history_session_id_idx", "session_id", "id"),
    )

    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    session_id: Mapped[SessionId]
    kernel_id: Mapped[Optional[KernelId]]
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
