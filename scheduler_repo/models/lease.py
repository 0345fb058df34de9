"""Which scheduler may write the decisions of which group."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import Base
from scheduler_repo.types import LeaseHolder, ScalingGroupName


class SchedulerLeaseRow(Base):
    """Who may write the decisions of a group; its epoch only grows, so that a former holder is recognised."""

    __tablename__ = "scheduler_leases"
    __table_args__ = (
        sa.CheckConstraint("holder <> ''", name="holder"),
        sa.CheckConstraint("epoch > 0", name="epoch"),
    )

    scaling_group: Mapped[ScalingGroupName] = mapped_column(
        sa.ForeignKey("scaling_groups.name"), primary_key=True
    )
    holder: Mapped[LeaseHolder]
    epoch: Mapped[int]
    acquired_at: Mapped[datetime]
    expires_at: Mapped[datetime]
