"""The base of all rows, and the column type of each domain type."""

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
    """The root of all rows; sql/schema.sql has the same columns, and the constraints and indexes."""

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
