"""Scaling groups, their grants, and the kinds of resource."""

from datetime import datetime, timedelta
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.models.checks import IS_OWNER_ID, is_one_of
from scheduler_repo.types import OwnerScope, PreemptionScope, ScalingGroupName, SlotName


class ScalingGroupRow(Base):
    """A pool of agents with one queue."""

    __tablename__ = "scaling_groups"
    __table_args__ = (
        sa.CheckConstraint("pending_timeout > interval '0'", name="pending_timeout"),
        sa.CheckConstraint(is_one_of("preemption_scope", PreemptionScope), name="preemption_scope"),
        sa.CheckConstraint("preemption_min_runtime >= interval '0'", name="preemption_min_runtime"),
    )

    name: Mapped[ScalingGroupName] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    pending_timeout: Mapped[Optional[timedelta]]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    preemption_scope: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    preemption_min_runtime: Mapped[timedelta] = mapped_column(server_default="0")
    is_public: Mapped[bool] = mapped_column(server_default=sa.true())


class ScalingGroupGrantRow(Base):
    """The right of an owner to use a group that is not public."""

    __tablename__ = "scaling_group_grants"
    __table_args__ = (
        sa.CheckConstraint(is_one_of("scope", OwnerScope), name="scope"),
        sa.CheckConstraint(IS_OWNER_ID, name="owner_id"),
    )

    scope: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    owner_id: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    scaling_group: Mapped[ScalingGroupName] = mapped_column(
        sa.ForeignKey("scaling_groups.name"), primary_key=True, index=True
    )


class SlotTypeRow(Base):
    """One kind of resource, and its place in every array of amounts."""

    __tablename__ = "slot_types"
    __table_args__ = (
        sa.UniqueConstraint("slot_index"),
        sa.CheckConstraint("slot_index BETWEEN 0 AND 63", name="slot_index"),
        sa.CheckConstraint("units_per_whole > 0", name="units_per_whole"),
    )

    name: Mapped[SlotName] = mapped_column(primary_key=True)
    slot_index: Mapped[int] = mapped_column(sa.SmallInteger)
    units_per_whole: Mapped[int] = mapped_column(server_default=sa.text("1"))
    display_unit: Mapped[str] = mapped_column(server_default="")
