"""The base of all rows: naming of constraints, the column type of each domain type, DDL beyond SQLAlchemy's."""

from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.orm import DeclarativeBase

from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    DomainName,
    KernelId,
    LeaseHolder,
    OperationId,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SlotName,
    UserId,
    VFolderId,
)

# The same order on every server, whatever its locale: ids, names and status words are compared byte by byte.
ORDERED_TEXT = sa.Text(collation="C")


class Base(DeclarativeBase):
    """The root of all rows; what they declare is what sql/schema.sql says."""

    metadata = sa.MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        }
    )
    type_annotation_map: ClassVar[dict[object, object]] = {
        int: sa.BigInteger(),
        str: sa.Text(),
        UUID: sa.Uuid(),
        datetime: sa.DateTime(timezone=True),
        timedelta: INTERVAL(),
        SessionId: sa.Uuid(),
        KernelId: sa.Uuid(),
        VFolderId: sa.Uuid(),
        UserId: sa.Uuid(),
        ProjectId: sa.Uuid(),
        OperationId: sa.Uuid(),
        AgentId: ORDERED_TEXT,
        ScalingGroupName: ORDERED_TEXT,
        SlotName: ORDERED_TEXT,
        AccessKey: ORDERED_TEXT,
        DomainName: ORDERED_TEXT,
        ResourcePolicyName: ORDERED_TEXT,
        LeaseHolder: ORDERED_TEXT,
        Architecture: ORDERED_TEXT,
    }


def run_after_create(row: type[Base], *statements: str) -> None:
    """Run statements, in the same transaction, whenever a row's table is created from the metadata."""

    def run(_: sa.Table, connection: sa.Connection, **__: object) -> None:
        for statement in statements:
            connection.execute(sa.text(statement))

    sa.event.listen(row.__table__, "after_create", run)


def set_fillfactor(row: type[Base], percent: int) -> None:
    """Fill the pages of a row's table to ``percent`` (10 to 100), and leave the rest free for updates."""
    # Not postgresql_with on the table: SQLAlchemy knows it from 2.1 on, and 2.0 is supported too.
    run_after_create(row, f"ALTER TABLE {row.__tablename__} SET (fillfactor = {percent})")
