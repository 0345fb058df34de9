"""What owners may use: shared policies, and each owner's own quota."""

from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.models.checks import IS_OWNER_ID, is_limits, is_one_of
from scheduler_repo.types import OwnerScope, ResourcePolicyName


class ResourcePolicyRow(Base):
    """A named set of limits that owners share."""

    __tablename__ = "resource_policies"
    __table_args__ = (
        sa.CheckConstraint(is_limits("slot_limits"), name="slot_limits"),
        sa.CheckConstraint("max_concurrent_sessions >= 0", name="max_concurrent_sessions"),
        sa.CheckConstraint("max_kernels_per_session >= 0", name="max_kernels_per_session"),
    )

    name: Mapped[ResourcePolicyName] = mapped_column(primary_key=True)
    slot_limits: Mapped[list[Optional[int]]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    max_concurrent_sessions: Mapped[Optional[int]] = mapped_column(sa.Integer)
    max_kernels_per_session: Mapped[Optional[int]] = mapped_column(sa.Integer)


class QuotaRow(Base):
    """The limits of one owner; the row that an allocation locks for it."""

    __tablename__ = "quotas"
    __table_args__ = (
        sa.CheckConstraint(is_one_of("scope", OwnerScope), name="scope"),
        sa.CheckConstraint(IS_OWNER_ID, name="owner_id"),
        sa.CheckConstraint(is_limits("slot_limits"), name="slot_limits"),
        sa.CheckConstraint("max_concurrent_sessions >= 0", name="max_concurrent_sessions"),
    )

    scope: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    owner_id: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    resource_policy: Mapped[Optional[ResourcePolicyName]] = mapped_column(
        sa.ForeignKey("resource_policies.name"), index=True
    )
    slot_limits: Mapped[list[Optional[int]]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    max_concurrent_sessions: Mapped[Optional[int]] = mapped_column(sa.Integer)
