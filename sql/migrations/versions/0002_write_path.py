"""The write path: leases, operations, reservations, retries, and what a preemption may take.

Revision ID: 0002
Revises: 0001
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0002"
down_revision: Final[Optional[str]] = "0001"
branch_labels: Final[None] = None
depends_on: Final[None] = None

# One statement each: the driver prepares what it is given. One per table, so that its rows are looked at once.
_UPGRADE: Final = (
    """ALTER TABLE scaling_groups
    ADD COLUMN preemption_scope text COLLATE "C",
    ADD COLUMN preemption_min_runtime interval NOT NULL DEFAULT '0',
    ADD CONSTRAINT scaling_groups_preemption_scope_check
        CHECK (preemption_scope IN ('USER', 'PROJECT', 'DOMAIN', 'GROUP')),
    ADD CONSTRAINT scaling_groups_preemption_min_runtime_check
        CHECK (preemption_min_runtime >= interval '0')""",
    """ALTER TABLE agents
    ADD COLUMN returns_as text COLLATE "C" NOT NULL DEFAULT 'ALIVE',
    ADD CONSTRAINT agents_returns_as_check CHECK (returns_as IN ('ALIVE', 'DRAINING'))""",
    # Who drains now was drained by an operator.
    "UPDATE agents SET returns_as = 'DRAINING' WHERE status = 'DRAINING'",
    "CREATE INDEX agent_history_changed_at_idx ON agent_history (changed_at)",
    "ALTER TABLE keypairs ADD CONSTRAINT keypairs_access_key_user_id_key UNIQUE (access_key, user_id)",
    "ALTER TABLE projects ADD CONSTRAINT projects_id_domain_name_key UNIQUE (id, domain_name)",
    "ALTER TABLE session_history DROP CONSTRAINT session_history_session_id_fkey",
    """ALTER TABLE sessions
    ADD COLUMN retry_count integer NOT NULL DEFAULT 0,
    ADD COLUMN failed_agent_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN dispatched_at timestamptz,
    ADD CONSTRAINT sessions_retry_count_check CHECK (retry_count >= 0),
    ADD CONSTRAINT sessions_failed_agent_ids_check CHECK (
        ('' <> ALL (failed_agent_ids)) IS TRUE AND coalesce(array_ndims(failed_agent_ids), 1) = 1),
    ADD CONSTRAINT sessions_dispatched_at_check CHECK (dispatched_at IS NULL OR status <> 'PENDING'),
    DROP CONSTRAINT sessions_access_key_fkey,
    DROP CONSTRAINT sessions_user_id_fkey,
    DROP CONSTRAINT sessions_project_id_fkey,
    DROP CONSTRAINT sessions_domain_name_fkey,
    ADD CONSTRAINT sessions_access_key_user_id_fkey
        FOREIGN KEY (access_key, user_id) REFERENCES keypairs (access_key, user_id),
    ADD CONSTRAINT sessions_project_id_domain_name_fkey
        FOREIGN KEY (project_id, domain_name) REFERENCES projects (id, domain_name)""",
    """CREATE INDEX sessions_undispatched_idx ON sessions (scaling_group, status_changed_at, id)
    WHERE status IN ('SCHEDULED', 'PREPARING') AND dispatched_at IS NULL""",
    """CREATE INDEX sessions_running_idx ON sessions (scaling_group, priority, id)
    WHERE status = 'RUNNING'""",
    """CREATE INDEX sessions_finished_idx ON sessions (status_changed_at, id)
    WHERE status IN ('TERMINATED', 'CANCELLED', 'ERROR')""",
    """CREATE TABLE reservations (
    session_id    uuid NOT NULL,
    position      bigint GENERATED ALWAYS AS IDENTITY,
    scaling_group text COLLATE "C" NOT NULL,
    reserved_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reservations_pkey PRIMARY KEY (session_id),
    CONSTRAINT reservations_position_key UNIQUE (position),
    CONSTRAINT reservations_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT reservations_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name)
)""",
    "CREATE INDEX reservations_scaling_group_idx ON reservations (scaling_group, position)",
    """CREATE TABLE kernel_reservations (
    kernel_id  uuid NOT NULL,
    session_id uuid NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    CONSTRAINT kernel_reservations_pkey PRIMARY KEY (kernel_id),
    CONSTRAINT kernel_reservations_kernel_id_fkey
        FOREIGN KEY (kernel_id) REFERENCES kernels (id) ON DELETE CASCADE,
    CONSTRAINT kernel_reservations_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES reservations (session_id) ON DELETE CASCADE,
    CONSTRAINT kernel_reservations_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE
)""",
    "CREATE INDEX kernel_reservations_session_id_idx ON kernel_reservations (session_id)",
    "CREATE INDEX kernel_reservations_agent_id_idx ON kernel_reservations (agent_id)",
    """CREATE TABLE operations (
    id             uuid NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL,
    result         bytea,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT operations_pkey PRIMARY KEY (id)
) WITH (fillfactor = 70)""",
    "CREATE INDEX operations_created_at_idx ON operations (created_at)",
    """CREATE TABLE scheduler_leases (
    scaling_group text COLLATE "C" NOT NULL,
    holder        text COLLATE "C" NOT NULL,
    epoch         bigint NOT NULL,
    acquired_at   timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    CONSTRAINT scheduler_leases_pkey PRIMARY KEY (scaling_group),
    CONSTRAINT scheduler_leases_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT scheduler_leases_holder_check CHECK (holder <> ''),
    CONSTRAINT scheduler_leases_epoch_check CHECK (epoch > 0)
)""",
)

# The checks of a column go with it.
_DOWNGRADE: Final = (
    "DROP TABLE scheduler_leases",
    "DROP TABLE operations",
    "DROP TABLE kernel_reservations",
    "DROP TABLE reservations",
    "DROP INDEX sessions_finished_idx",
    "DROP INDEX sessions_running_idx",
    "DROP INDEX sessions_undispatched_idx",
    """ALTER TABLE sessions
    DROP COLUMN dispatched_at,
    DROP COLUMN failed_agent_ids,
    DROP COLUMN retry_count,
    DROP CONSTRAINT sessions_access_key_user_id_fkey,
    DROP CONSTRAINT sessions_project_id_domain_name_fkey,
    ADD CONSTRAINT sessions_access_key_fkey FOREIGN KEY (access_key) REFERENCES keypairs (access_key),
    ADD CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    ADD CONSTRAINT sessions_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    ADD CONSTRAINT sessions_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name)""",
    "DELETE FROM session_history WHERE session_id NOT IN (SELECT id FROM sessions)",
    """ALTER TABLE session_history
    ADD CONSTRAINT session_history_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE""",
    "ALTER TABLE projects DROP CONSTRAINT projects_id_domain_name_key",
    "ALTER TABLE keypairs DROP CONSTRAINT keypairs_access_key_user_id_key",
    "DROP INDEX agent_history_changed_at_idx",
    "ALTER TABLE agents DROP COLUMN returns_as",
    "ALTER TABLE scaling_groups DROP COLUMN preemption_min_runtime, DROP COLUMN preemption_scope",
)


def upgrade() -> None:
    """Add the columns, tables and indexes; rows that are there take the defaults."""
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop what the upgrade added, with what it holds; all other rows stay."""
    for statement in _DOWNGRADE:
        op.execute(statement)
