"""What was asked before, and what was answered."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base
from scheduler_repo.models.ddl import set_fillfactor
from scheduler_repo.types import OperationId


class OperationRow(Base):
    """One write and its result, so that asking again under the same id answers the same."""

    __tablename__ = "operations"

    id: Mapped[OperationId] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(ORDERED_TEXT)
    request_digest: Mapped[bytes]
    result: Mapped[Optional[bytes]]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)


# Each row is updated once, by the transaction that inserts it.
set_fillfactor(OperationRow, 70)
