"""Agents: what they are, what they give and have given, and when they were last heard of."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName


class AgentRow(Base):
    """One node of a scaling group."""

    __tablename__ = "agents"

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
