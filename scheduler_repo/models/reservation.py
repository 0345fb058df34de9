"""Capacity that is held for sessions which wait for others to end."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import Base
from scheduler_repo.types import AgentId, KernelId, ScalingGroupName, SessionId


class ReservationRow(Base):
    """A pending session whose victims are ending; the lower position is served first."""

    __tablename__ = "reservations"

    session_id: Mapped[SessionId] = mapped_column(
        sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(sa.Identity(always=True))
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    reserved_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class KernelReservationRow(Base):
    """The agent on which one kernel is held; what it holds is what the kernel requests."""

    __tablename__ = "kernel_reservations"

    kernel_id: Mapped[KernelId] = mapped_column(
        sa.ForeignKey("kernels.id", ondelete="CASCADE"), primary_key=True
    )
    session_id: Mapped[SessionId] = mapped_column(
        sa.ForeignKey("reservations.session_id", ondelete="CASCADE"), index=True
    )
    agent_id: Mapped[AgentId] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"), index=True)
