"""The tables as SQLAlchemy rows: columns only, for simple reads and writes.

``sql/schema.sql`` is the whole schema, with constraints, indexes and functions; a test compares the columns.
Used by the repositories' sources; a row never leaves a repository.
"""

from datetime import datetime, timedelta
from typing import ClassVar, Optional
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from scheduler_repo.types import (
    AccessKey,
    AgentId,
    AgentStatus,
    Architecture,
    DomainName,
    KernelId,
    LeaseHolder,
    OperationId,
    ProjectId,
    ResourcePolicyName,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    SlotName,
    UserId,
    VFolderId,
)

# The same order on every server, whatever its locale: ids, names and status words are compared byte by byte.
ORDERED_TEXT = sa.Text(collation="C")

_IDS = (UUID, SessionId, KernelId, VFolderId, UserId, ProjectId, OperationId)
_NAMES = (AgentId, ScalingGroupName, SlotName, AccessKey, DomainName, ResourcePolicyName, LeaseHolder)


class Base(DeclarativeBase):
    """The root of all rows, and the column type of each domain type."""

    type_annotation_map: ClassVar[dict[object, object]] = {
        int: sa.BigInteger(),
        str: sa.Text(),
        datetime: sa.DateTime(timezone=True),
        timedelta: INTERVAL(),
        Architecture: ORDERED_TEXT,
        **dict.fromkeys(_IDS, sa.Uuid()),
        **dict.fromkeys(_NAMES, ORDERED_TEXT),
    }


def _owned_by(column: str) -> sa.ForeignKey:
    """Refer to the row with which this one is deleted."""
    return sa.ForeignKey(column, ondelete="CASCADE")


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


class DomainRow(Base):
    """A tenant: the outermost owner."""

    __tablename__ = "domains"
    name: Mapped[DomainName] = mapped_column(primary_key=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class ProjectRow(Base):
    """A project of a domain."""

    __tablename__ = "projects"
    id: Mapped[ProjectId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ORDERED_TEXT)
    domain_name: Mapped[DomainName] = mapped_column(sa.ForeignKey("domains.name"))
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class UserRow(Base):
    """A user of a domain."""

    __tablename__ = "users"
    id: Mapped[UserId] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(ORDERED_TEXT)
    domain_name: Mapped[DomainName] = mapped_column(sa.ForeignKey("domains.name"))
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class KeypairRow(Base):
    """An access key of a user."""

    __tablename__ = "keypairs"
    access_key: Mapped[AccessKey] = mapped_column(primary_key=True)
    user_id: Mapped[UserId] = mapped_column(sa.ForeignKey("users.id"), index=True)
    is_active: Mapped[bool] = mapped_column(server_default=sa.true())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


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


class VFolderRow(Base):
    """A folder of a user or of a project."""

    __tablename__ = "vfolders"
    id: Mapped[VFolderId] = mapped_column(primary_key=True)
    name: Mapped[str]
    host: Mapped[str]
    user_id: Mapped[Optional[UserId]] = mapped_column(sa.ForeignKey("users.id"), index=True)
    project_id: Mapped[Optional[ProjectId]] = mapped_column(sa.ForeignKey("projects.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class SessionVFolderMountRow(Base):
    """One folder in one session."""

    __tablename__ = "session_vfolder_mounts"
    session_id: Mapped[SessionId] = mapped_column(_owned_by("sessions.id"), primary_key=True)
    vfolder_id: Mapped[VFolderId] = mapped_column(sa.ForeignKey("vfolders.id"), index=True)
    mount_path: Mapped[str] = mapped_column(primary_key=True)
    permission: Mapped[str] = mapped_column(ORDERED_TEXT)


class AgentRow(Base):
    """One node of a scaling group."""

    __tablename__ = "agents"
    id: Mapped[AgentId] = mapped_column(primary_key=True)
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=AgentStatus.ALIVE.value)
    is_schedulable: Mapped[bool] = mapped_column(server_default=sa.true())
    address: Mapped[str]
    architecture: Mapped[Architecture]
    container_count: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("0"))
    max_containers: Mapped[Optional[int]] = mapped_column(sa.Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    returns_as: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=AgentStatus.ALIVE.value)


class AgentSlotRow(Base):
    """The ledger: how much of one slot an agent gives away, and has given."""

    __tablename__ = "agent_slots"
    agent_id: Mapped[AgentId] = mapped_column(_owned_by("agents.id"), primary_key=True)
    slot_name: Mapped[SlotName] = mapped_column(sa.ForeignKey("slot_types.name"), primary_key=True, index=True)
    capacity: Mapped[int]
    occupied: Mapped[int] = mapped_column(server_default=sa.text("0"))
    reported_capacity: Mapped[Optional[int]]


class AgentHeartbeatRow(Base):
    """When an agent was last heard of."""

    __tablename__ = "agent_heartbeats"
    agent_id: Mapped[AgentId] = mapped_column(_owned_by("agents.id"), primary_key=True)
    heartbeat_at: Mapped[datetime]


class SessionRow(Base):
    """One unit of work, placed all or nothing."""

    __tablename__ = "sessions"
    id: Mapped[SessionId] = mapped_column(primary_key=True)
    name: Mapped[str]
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    access_key: Mapped[AccessKey]
    user_id: Mapped[UserId]
    project_id: Mapped[ProjectId]
    domain_name: Mapped[DomainName]
    session_type: Mapped[str] = mapped_column(ORDERED_TEXT)
    cluster_mode: Mapped[str] = mapped_column(ORDERED_TEXT)
    priority: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("10"))
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=SessionStatus.PENDING.value)
    result: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    designated_agent_ids: Mapped[list[AgentId]] = mapped_column(ARRAY(ORDERED_TEXT), server_default="{}")
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    requested_start_at: Mapped[Optional[datetime]]
    has_dependencies: Mapped[bool] = mapped_column(server_default=sa.false())
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    retry_count: Mapped[int] = mapped_column(sa.Integer, server_default=sa.text("0"))
    failed_agent_ids: Mapped[list[AgentId]] = mapped_column(ARRAY(ORDERED_TEXT), server_default="{}")
    dispatched_at: Mapped[Optional[datetime]]


class SessionDependencyRow(Base):
    """One session that waits for another; the other may have been purged."""

    __tablename__ = "session_dependencies"
    session_id: Mapped[SessionId] = mapped_column(_owned_by("sessions.id"), primary_key=True)
    depends_on: Mapped[SessionId] = mapped_column(primary_key=True, index=True)


class KernelRow(Base):
    """One container of a session; its owner columns are the session's."""

    __tablename__ = "kernels"
    id: Mapped[KernelId] = mapped_column(primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(_owned_by("sessions.id"))
    kernel_index: Mapped[int] = mapped_column(sa.Integer)
    scaling_group: Mapped[ScalingGroupName]
    access_key: Mapped[AccessKey]
    user_id: Mapped[UserId]
    project_id: Mapped[ProjectId]
    domain_name: Mapped[DomainName]
    image: Mapped[str] = mapped_column(server_default="")
    architecture: Mapped[Optional[Architecture]]
    status: Mapped[str] = mapped_column(ORDERED_TEXT, server_default=SessionStatus.PENDING.value)
    agent_id: Mapped[Optional[AgentId]] = mapped_column(sa.ForeignKey("agents.id"))
    requested_slots: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger))
    occupied_slots: Mapped[list[int]] = mapped_column(ARRAY(sa.BigInteger), server_default="{}")
    exit_code: Mapped[Optional[int]] = mapped_column(sa.Integer)
    status_changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class AgentHistoryRow(Base):
    """One change of an agent's status."""

    __tablename__ = "agent_history"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    agent_id: Mapped[AgentId] = mapped_column(_owned_by("agents.id"))
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.statement_timestamp(), index=True)


class SessionHistoryRow(Base):
    """One change of a session's status, or of one kernel's where ``kernel_id`` is set."""

    __tablename__ = "session_history"
    id: Mapped[int] = mapped_column(sa.Identity(always=True), primary_key=True)
    session_id: Mapped[SessionId]
    kernel_id: Mapped[Optional[KernelId]]
    from_status: Mapped[Optional[str]] = mapped_column(ORDERED_TEXT)
    to_status: Mapped[str] = mapped_column(ORDERED_TEXT)
    reason: Mapped[Optional[str]]
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.statement_timestamp())


class ReservationRow(Base):
    """A pending session whose victims are ending; the lower position is served first."""

    __tablename__ = "reservations"
    session_id: Mapped[SessionId] = mapped_column(_owned_by("sessions.id"), primary_key=True)
    position: Mapped[int] = mapped_column(sa.Identity(always=True))
    scaling_group: Mapped[ScalingGroupName] = mapped_column(sa.ForeignKey("scaling_groups.name"))
    reserved_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class KernelReservationRow(Base):
    """The agent on which one kernel is held; what it holds is what the kernel requests."""

    __tablename__ = "kernel_reservations"
    kernel_id: Mapped[KernelId] = mapped_column(_owned_by("kernels.id"), primary_key=True)
    session_id: Mapped[SessionId] = mapped_column(_owned_by("reservations.session_id"), index=True)
    agent_id: Mapped[AgentId] = mapped_column(_owned_by("agents.id"), index=True)


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


class _ServerType(sa.types.UserDefinedType[str]):
    """A type of PostgreSQL's that no row is read or written by through SQLAlchemy."""

    cache_ok = True

    def __init__(self, name: str) -> None:
        self.name = name

    def get_col_spec(self, **_: object) -> str:
        return self.name


# What statement files alone read, and functions of the database alone write.
CHANGE_LOG = sa.Table(
    "change_log",
    Base.metadata,
    sa.Column(
        "xid", _ServerType("xid8"), nullable=False, server_default=sa.func.pg_current_xact_id(), index=True
    ),
    sa.Column("kind", _ServerType('"char"'), nullable=False),
    sa.Column("sessions", ARRAY(sa.Uuid())),
    sa.Column("names", ARRAY(ORDERED_TEXT)),
)
USAGE_LOG = sa.Table(
    "usage_log",
    Base.metadata,
    sa.Column(
        "xid", _ServerType("xid8"), nullable=False, server_default=sa.func.pg_current_xact_id(), index=True
    ),
    sa.Column("access_key", ORDERED_TEXT, nullable=False),
    sa.Column("user_id", sa.Uuid(), nullable=False),
    sa.Column("project_id", sa.Uuid(), nullable=False),
    sa.Column("domain_name", ORDERED_TEXT, nullable=False),
    sa.Column("session_count", sa.BigInteger(), nullable=False),
    sa.Column("slots", ARRAY(sa.Numeric()), nullable=False),
)
OWNER_USAGE = sa.Table(
    "owner_usage",
    Base.metadata,
    sa.Column("scope", ORDERED_TEXT, primary_key=True),
    sa.Column("owner_id", ORDERED_TEXT, primary_key=True),
    sa.Column("session_count", sa.BigInteger(), nullable=False),
    sa.Column("slots", ARRAY(sa.Numeric()), nullable=False),
)
CHANGE_FLOOR = sa.Table(
    "change_floor",
    Base.metadata,
    sa.Column("floor", _ServerType("pg_snapshot"), nullable=False),
    sa.Column("folded", _ServerType("pg_snapshot"), nullable=False),
    sa.Column("next_floor", _ServerType("pg_snapshot"), nullable=False),
    sa.Column("next_floor_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("folded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("cluster", sa.BigInteger(), nullable=False),
    sa.Column("id", sa.Integer(), primary_key=True, server_default="1", autoincrement=False),
)
SERVER_LIFE = sa.Table("server_life", Base.metadata, sa.Column("life", sa.Uuid(), nullable=False))
