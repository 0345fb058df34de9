"""The kinds of resource that the cluster has."""

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import Base
from scheduler_repo.types import SlotName


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
