"""What owners may use: shared policies, and each owner's own quota."""

from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.types import ResourcePolicyName


class ResourcePolicyRow(Base):
    """A named set of limits that owners share."""

    __tablename__ = "resource_policies"

    name: Mapped[ResourcePolicyName] = mapped_column(primary_key=True)
    slot_limits: Mapped[list[Optional[int]]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    max_concurrent_sessions: Mapped[Optional[int]] = mapped_column(sa.Integer)
    max_kernels_per_session: Mapped[Optional[int]] = mapped_column(sa.Integer)


class QuotaRow(Base):
    """The limits of one owner; the row that an allocation locks for it."""

    __tablename__ = "quotas"

    scope: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    owner_id: Mapped[str] = mapped_column(ORDERED_TEXT, primary_key=True)
    resource_policy: Mapped[Optional[ResourcePolicyName]] = mapped_column(
        sa.ForeignKey("resource_policies.name"), index=True
    )
    slot_limits: Mapped[list[Optional[int]]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    max_concurrent_sessions: Mapped[Optional[int]] = mapped_column(sa.Integer)
