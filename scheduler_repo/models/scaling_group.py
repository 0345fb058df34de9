"""The pools of agents."""

from datetime import datetime, timedelta
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import Base
from scheduler_repo.types import ScalingGroupName


class ScalingGroupRow(Base):
    """A pool of agents with one queue."""

    __tablename__ = "scaling_groups"
    __table_args__ = (sa.CheckConstraint("pending_timeout > interval '0'", name="pending_timeout"),)

    name: Mapped[ScalingGroupName] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    pending_timeout: Mapped[Optional[timedelta]]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
