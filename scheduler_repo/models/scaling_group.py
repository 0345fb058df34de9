"""Scaling groups, their grants, and the kinds of resource."""

from datetime import datetime, timedelta
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import ScalingGroupName, SlotName


class ScalingGroupRow(Base):
    """A pool of agents with one queue."""

    __tablename__ = "scaling_groups"

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

    scope: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    owner_id: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    scaling_group: Mapped[ScalingGroupName] = mapped_column(
        sa.ForeignKey("scaling_groups.name"), primary_key=True, index=True
    )


class SlotTypeRow(Base):
    """One kind of resource, and its place in every array of amounts."""

    __tablename__ = "slot_types"

    name: Mapped[SlotName] = mapped_column(primary_key=True)
    slot_index: Mapped[int] = mapped_column(sa.SmallInteger)
    units_per_whole: Mapped[int] = mapped_column(server_default=sa.text("1"))
    display_unit: Mapped[str] = mapped_column(server_default="")
