"""Sessions and what they depend on."""

from datetime import datetime
from typing import Optional

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler_repo.models.base import ORDERED_TEXT, Base, run_after_create
from scheduler_repo.models.checks import (
    IS_FINISHED,
    IS_OCCUPYING,
    IS_PENDING,
    IS_RUNNING,
    IS_UNDISPATCHED,
    is_agent_ids,
    is_finite,
    is_one_of,
)
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    ClusterMode,
    DomainName,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    UserId,
)


class SessionRow(Base):
    """One unit of work, placed all or nothing."""

    __tablename__ = "sessions"
    __table_args__ = (
        sa.ForeignKeyConstraint(["access_key", "user_id"], ["keypairs.access_key", "keypairs.user_id"]),
        sa.ForeignKeyConstraint(["project_id", "domain_name"], ["projects.id", "projects.domain_name"]),
        sa.CheckConstraint(is_one_of("session_type", SessionType), name="session_type"),
        sa.CheckConstraint(is_one_of("cluster_mode", ClusterMode), name="cluster_mode"),
        sa.CheckConstraint(is_one_of("status", SessionStatus), name="status"),
        sa.CheckConstraint(
            f"result IS NULL OR ({is_one_of('result', SessionResult)} AND {IS_FINISHED})", name="result"
        ),
        sa.CheckConstraint(
            f"{is_finite('created_at')} AND (requested_start_at IS NULL OR {is_finite('requested_start_at')})",
            name="times",
        ),
        sa.CheckConstraint(is_agent_ids("designated_agent_ids"), name="designated_agent_ids"),
        sa.CheckConstraint("retry_count >= 0", name="retry_count"),
        sa.CheckConstraint(is_agent_ids("failed_agent_ids"), name="failed_agent_ids"),
        sa.CheckConstraint(
            f"dispatched_at IS NULL OR status <> '{SessionStatus.PENDING.value}'", name="dispatched_at"
        ),
        sa.Index(
            "sessions_pending_idx",
            "scaling_group",
            sa.text("priority DESC"),
            "created_at",
            "id",
            postgresql_where=sa.text(IS_PENDING),
        ),
        sa.Index(
            "sessions_pending_dependent_idx",
            "scaling_group",
            "id",
            postgresql_where=sa.text(f"{IS_PENDING} AND has_dependencies"),
        ),
        sa.Index(
            "sessions_occupying_idx",
            "access_key",
            "user_id",
            "project_id",
            "domain_name",
            postgresql_where=sa.text(IS_OCCUPYING),
        ),
        sa.Index(
            "sessions_undispatched_idx",
            "scaling_group",
            "status_changed_at",
            "id",
            postgresql_where=sa.text(f"{IS_UNDISPATCHED} AND dispatched_at IS NULL"),
        ),
        sa.Index(
            "sessions_running_idx", "scaling_group", "priority", "id", postgresql_where=sa.text(IS_RUNNING)
        ),
        sa.Index("sessions_finished_idx", "status_changed_at", "id", postgresql_where=sa.text(IS_FINISHED)),
        sa.Index("sessions_created_at_idx", "created_at", "id"),
        sa.Index("sessions_access_key_idx", "access_key", "created_at", "id"),
        sa.Index("sessions_project_id_idx", "project_id", "created_at", "id"),
        sa.Index("sessions_scaling_group_idx", "scaling_group", "created_at", "id"),
    )

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
    __table_args__ = (sa.CheckConstraint("session_id <> depends_on", name="depends_on"),)

    session_id: Mapped[SessionId] = mapped_column(
        sa.ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    depends_on: Mapped[SessionId] = mapped_column(primary_key=True, index=True)


# Marks sessions with dependencies, so that the few pending ones are found by an index.
run_after_create(
    SessionDependencyRow,
    """
CREATE FUNCTION session_dependencies_mark_sessions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE sessions SET has_dependencies = true
    WHERE id IN (SELECT session_id FROM new_rows) AND NOT has_dependencies;
    RETURN NULL;
END
$$
""",
    """
CREATE TRIGGER session_dependencies_mark_sessions
    AFTER INSERT ON session_dependencies
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION session_dependencies_mark_sessions()
""",
)
