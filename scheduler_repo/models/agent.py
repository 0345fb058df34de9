"""Agents: what they are, what they give and have given, and when they were last heard of."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base, set_fillfactor
from scheduler_repo.models.checks import is_one_of
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName


class AgentRow(Base):
    """One node of a scaling group."""

    __tablename__ = "agents"
    __table_args__ = (
        sa.CheckConstraint(is_one_of("status", AgentStatus), name="status"),
        sa.CheckConstraint(
            "container_count >= 0 AND (max_containers IS NULL OR container_count <= max_containers)",
            name="container_count",
        ),
        sa.CheckConstraint(
            is_one_of("returns_as", (AgentStatus.ALIVE, AgentStatus.DRAINING)), name="returns_as"
        ),
        sa.Index(
            "agents_schedulable_idx",
            "scaling_group",
            "id",
            postgresql_where=sa.text(f"status = '{AgentStatus.ALIVE.value}' AND is_schedulable"),
        ),
        sa.Index("agents_scaling_group_idx", "scaling_group", "id"),
    )

    id: Mapped[AgentId] = mapped_column(primary_key=True)
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=AgentStatus.ALIVE.value)
    is_schedulable: Mapped[bool] = mapped_column(server_default=sa.true())
    address: Mapped[str]
    architecture: Mapped[Architecture]
    container_count: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("0"))
    max_containers: Mapped[Optional[int]] = mapped_column(sa.Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    returns_as: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=AgentStatus.ALIVE.value)


class AgentSlotRow(Base):
    """The ledger: how much of one slot an agent gives away, and has given."""

    __tablename__ = "agent_slots"
    __table_args__ = (
        sa.CheckConstraint("capacity >= 0", name="capacity"),
        sa.CheckConstraint("occupied BETWEEN 0 AND capacity", name="occupied"),
        sa.CheckConstraint("reported_capacity >= 0", name="reported_capacity"),
    )

    agent_id: Mapped[AgentId] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True)
    slot_name: Mapped[SlotName] = mapped_column(sa.ForeignKey("slot_types.name"), primary_key=True, index=True)
    capacity: Mapped[int]
    occupied: Mapped[int] = mapped_column(server_default=sa.text("0"))
    reported_capacity: Mapped[Optional[int]]


class AgentHeartbeatRow(Base):
    """When an agent was last heard of."""

    __tablename__ = "agent_heartbeats"

    agent_id: Mapped[AgentId] = mapped_column(sa.ForeignKey("agents.id", ondelete="CASCADE"), primary_key=True)
    heartbeat_at: Mapped[datetime]


# Room in each page for the next version of a row, so that updates touch no index.
set_fillfactor(AgentSlotRow, 70)
set_fillfactor(AgentHeartbeatRow, 50)
