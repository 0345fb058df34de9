"""Leases and operations: which scheduler may write, and which writes were done."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import LeaseHolder, OperationId, ScalingGroupName


class SchedulerLeaseRow(Base):
    """The scheduler that may write a group's decisions; the epoch only grows, which fences former holders."""

    __tablename__ = "scheduler_leases"

    scaling_group: Mapped[ScalingGroupName] = mapped_column(
        sa.ForeignKey("scaling_groups.name"), primary_key=True
    )
    holder: Mapped[LeaseHolder]
    epoch: Mapped[int]
    acquired_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class OperationRow(Base):
    """One write and its result: asking again under its id returns the same result."""

    __tablename__ = "operations"

    id: Mapped[OperationId] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(ORDERED_TEXT)
    request_digest: Mapped[bytes]
    result: Mapped[Optional[bytes]]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)
