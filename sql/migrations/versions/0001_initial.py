"""The first schema.

Revision ID: 0001
Revises:
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0001"
down_revision: Final[Optional[str]] = None
branch_labels: Final[None] = None
depends_on: Final[None] = None

# One statement each: the driver prepares what it is given.
_STATEMENTS: Final = (
    """CREATE TABLE slot_types (
    name            text COLLATE "C" NOT NULL,
    slot_index      smallint NOT NULL,
    units_per_whole bigint NOT NULL DEFAULT 1,
    display_unit    text NOT NULL DEFAULT '',
    CONSTRAINT slot_types_pkey PRIMARY KEY (name),
    CONSTRAINT slot_types_slot_index_key UNIQUE (slot_index),
    CONSTRAINT slot_types_slot_index_check CHECK (slot_index BETWEEN 0 AND 63),
    CONSTRAINT slot_types_units_per_whole_check CHECK (units_per_whole > 0)
)""",
    """CREATE TABLE resource_policies (
    name                    text COLLATE "C" NOT NULL,
    slot_limits             bigint[] NOT NULL DEFAULT '{}',
    max_concurrent_sessions integer,
    max_kernels_per_session integer,
    CONSTRAINT resource_policies_pkey PRIMARY KEY (name),
    CONSTRAINT resource_policies_slot_limits_check
        CHECK (0 <= ALL (slot_limits)
            AND coalesce(array_ndims(slot_limits), 1) = 1 AND coalesce(array_lower(slot_limits, 1), 1) = 1),
    CONSTRAINT resource_policies_max_concurrent_sessions_check CHECK (max_concurrent_sessions >= 0),
    CONSTRAINT resource_policies_max_kernels_per_session_check CHECK (max_kernels_per_session >= 0)
)""",
    """CREATE TABLE domains (
    name       text COLLATE "C" NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT domains_pkey PRIMARY KEY (name)
)""",
    """CREATE TABLE projects (
    id          uuid NOT NULL,
    name        text COLLATE "C" NOT NULL,
    domain_name text COLLATE "C" NOT NULL,
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_domain_name_name_key UNIQUE (domain_name, name),
    CONSTRAINT projects_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name)
)""",
    """CREATE TABLE users (
    id          uuid NOT NULL,
    name        text COLLATE "C" NOT NULL,
    domain_name text COLLATE "C" NOT NULL,
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_domain_name_name_key UNIQUE (domain_name, name),
    CONSTRAINT users_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name)
)""",
    """CREATE TABLE keypairs (
    access_key text COLLATE "C" NOT NULL,
    user_id    uuid NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keypairs_pkey PRIMARY KEY (access_key),
    CONSTRAINT keypairs_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id)
)""",
    "CREATE INDEX keypairs_user_id_idx ON keypairs (user_id)",
    """CREATE TABLE quotas (
    scope                   text COLLATE "C" NOT NULL,
    owner_id                text COLLATE "C" NOT NULL,
    resource_policy         text COLLATE "C",
    slot_limits             bigint[] NOT NULL DEFAULT '{}',
    max_concurrent_sessions integer,
    CONSTRAINT quotas_pkey PRIMARY KEY (scope, owner_id),
    CONSTRAINT quotas_resource_policy_fkey FOREIGN KEY (resource_policy) REFERENCES resource_policies (name),
    CONSTRAINT quotas_scope_check CHECK (scope IN ('ACCESS_KEY', 'USER', 'PROJECT', 'DOMAIN')),
    CONSTRAINT quotas_owner_id_check CHECK (
        scope IN ('ACCESS_KEY', 'DOMAIN')
        OR owner_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'),
    CONSTRAINT quotas_slot_limits_check
        CHECK (0 <= ALL (slot_limits)
            AND coalesce(array_ndims(slot_limits), 1) = 1 AND coalesce(array_lower(slot_limits, 1), 1) = 1),
    CONSTRAINT quotas_max_concurrent_sessions_check CHECK (max_concurrent_sessions >= 0)
)""",
    "CREATE INDEX quotas_resource_policy_idx ON quotas (resource_policy)",
    """CREATE TABLE vfolders (
    id          uuid NOT NULL,
    name        text NOT NULL,
    host        text NOT NULL,
    user_id     uuid,
    project_id  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vfolders_pkey PRIMARY KEY (id),
    CONSTRAINT vfolders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT vfolders_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT vfolders_owner_check CHECK ((user_id IS NULL) <> (project_id IS NULL))
)""",
    "CREATE INDEX vfolders_user_id_idx ON vfolders (user_id)",
    "CREATE INDEX vfolders_project_id_idx ON vfolders (project_id)",
    """CREATE TABLE scaling_groups (
    name            text COLLATE "C" NOT NULL,
    is_active       boolean NOT NULL DEFAULT true,
    pending_timeout interval,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT scaling_groups_pkey PRIMARY KEY (name),
    CONSTRAINT scaling_groups_pending_timeout_check CHECK (pending_timeout > interval '0')
)""",
    """CREATE TABLE agents (
    id                text COLLATE "C" NOT NULL,
    scaling_group     text COLLATE "C" NOT NULL,
    status            text COLLATE "C" NOT NULL DEFAULT 'ALIVE',
    is_schedulable    boolean NOT NULL DEFAULT true,
    address           text NOT NULL,
    architecture      text COLLATE "C" NOT NULL,
    container_count   integer NOT NULL DEFAULT 0,
    max_containers    integer,
    created_at        timestamptz NOT NULL DEFAULT now(),
    status_changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agents_pkey PRIMARY KEY (id),
    CONSTRAINT agents_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT agents_status_check CHECK (status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED')),
    CONSTRAINT agents_container_count_check
        CHECK (container_count >= 0 AND (max_containers IS NULL OR container_count <= max_containers))
)""",
    """CREATE INDEX agents_schedulable_idx ON agents (scaling_group, id)
    WHERE status = 'ALIVE' AND is_schedulable""",
    """CREATE TABLE agent_slots (
    agent_id          text COLLATE "C" NOT NULL,
    slot_name         text COLLATE "C" NOT NULL,
    capacity          bigint NOT NULL,
    occupied          bigint NOT NULL DEFAULT 0,
    reported_capacity bigint,
    CONSTRAINT agent_slots_pkey PRIMARY KEY (agent_id, slot_name),
    CONSTRAINT agent_slots_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT agent_slots_slot_name_fkey FOREIGN KEY (slot_name) REFERENCES slot_types (name),
    CONSTRAINT agent_slots_capacity_check CHECK (capacity >= 0),
    CONSTRAINT agent_slots_occupied_check CHECK (occupied BETWEEN 0 AND capacity),
    CONSTRAINT agent_slots_reported_capacity_check CHECK (reported_capacity >= 0)
) WITH (fillfactor = 70)""",
    "CREATE INDEX agent_slots_slot_name_idx ON agent_slots (slot_name)",
    """CREATE TABLE agent_heartbeats (
    agent_id     text COLLATE "C" NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    CONSTRAINT agent_heartbeats_pkey PRIMARY KEY (agent_id),
    CONSTRAINT agent_heartbeats_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE
) WITH (fillfactor = 50)""",
    """CREATE TABLE agent_history (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    agent_id    text COLLATE "C" NOT NULL,
    from_status text COLLATE "C",
    to_status   text COLLATE "C" NOT NULL,
    reason      text,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT agent_history_pkey PRIMARY KEY (id),
    CONSTRAINT agent_history_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT agent_history_from_status_check
        CHECK (from_status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED')),
    CONSTRAINT agent_history_to_status_check
        CHECK (to_status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED'))
)""",
    "CREATE INDEX agent_history_agent_id_idx ON agent_history (agent_id, id)",
    """CREATE TABLE sessions (
    id                   uuid NOT NULL,
    name                 text NOT NULL,
    scaling_group        text COLLATE "C" NOT NULL,
    access_key           text COLLATE "C" NOT NULL,
    user_id              uuid NOT NULL,
    project_id           uuid NOT NULL,
    domain_name          text COLLATE "C" NOT NULL,
    session_type         text COLLATE "C" NOT NULL,
    cluster_mode         text COLLATE "C" NOT NULL,
    priority             integer NOT NULL DEFAULT 10,
    status               text COLLATE "C" NOT NULL DEFAULT 'PENDING',
    result               text COLLATE "C",
    designated_agent_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',
    created_at           timestamptz NOT NULL DEFAULT now(),
    requested_start_at   timestamptz,
    has_dependencies     boolean NOT NULL DEFAULT false,
    status_changed_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT sessions_access_key_fkey FOREIGN KEY (access_key) REFERENCES keypairs (access_key),
    CONSTRAINT sessions_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT sessions_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT sessions_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name),
    CONSTRAINT sessions_session_type_check
        CHECK (session_type IN ('INTERACTIVE', 'BATCH', 'INFERENCE', 'SYSTEM')),
    CONSTRAINT sessions_cluster_mode_check CHECK (cluster_mode IN ('SINGLE_NODE', 'MULTI_NODE')),
    CONSTRAINT sessions_status_check CHECK (status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR')),
    CONSTRAINT sessions_result_check CHECK (
        result IS NULL
        OR (result IN ('SUCCESS', 'FAILURE') AND status IN ('TERMINATED', 'CANCELLED', 'ERROR'))),
    CONSTRAINT sessions_times_check CHECK (
        created_at BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00'
        AND (requested_start_at IS NULL
             OR requested_start_at BETWEEN '0001-01-02 00:00:00+00' AND '9999-12-31 00:00:00+00')),
    CONSTRAINT sessions_designated_agent_ids_check CHECK (
        ('' <> ALL (designated_agent_ids)) IS TRUE AND coalesce(array_ndims(designated_agent_ids), 1) = 1)
)""",
    """CREATE INDEX sessions_pending_idx ON sessions (scaling_group, priority DESC, created_at, id)
    WHERE status = 'PENDING'""",
    """CREATE INDEX sessions_pending_dependent_idx ON sessions (scaling_group, id)
    WHERE status = 'PENDING' AND has_dependencies""",
    """CREATE INDEX sessions_occupying_idx ON sessions (access_key, user_id, project_id, domain_name)
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')""",
    """CREATE TABLE kernels (
    id                uuid NOT NULL,
    session_id        uuid NOT NULL,
    kernel_index      integer NOT NULL,
    scaling_group     text COLLATE "C" NOT NULL,
    access_key        text COLLATE "C" NOT NULL,
    user_id           uuid NOT NULL,
    project_id        uuid NOT NULL,
    domain_name       text COLLATE "C" NOT NULL,
    image             text NOT NULL DEFAULT '',
    architecture      text COLLATE "C",
    status            text COLLATE "C" NOT NULL DEFAULT 'PENDING',
    agent_id          text COLLATE "C",
    requested_slots   bigint[] NOT NULL,
    occupied_slots    bigint[] NOT NULL DEFAULT '{}',
    exit_code         integer,
    status_changed_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT kernels_pkey PRIMARY KEY (id),
    CONSTRAINT kernels_session_id_kernel_index_key UNIQUE (session_id, kernel_index),
    CONSTRAINT kernels_session_id_fkey FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT kernels_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id),
    CONSTRAINT kernels_kernel_index_check CHECK (kernel_index >= 0),
    CONSTRAINT kernels_status_check CHECK (status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR')),
    CONSTRAINT kernels_agent_id_check CHECK (
        agent_id IS NOT NULL
        OR (status NOT IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND occupied_slots = '{}')),
    CONSTRAINT kernels_requested_slots_check CHECK (
        (0 <= ALL (requested_slots)) IS TRUE
        AND coalesce(array_ndims(requested_slots), 1) = 1 AND coalesce(array_lower(requested_slots, 1), 1) = 1),
    CONSTRAINT kernels_occupied_slots_check CHECK (
        (0 <= ALL (occupied_slots)) IS TRUE
        AND coalesce(array_ndims(occupied_slots), 1) = 1 AND coalesce(array_lower(occupied_slots, 1), 1) = 1)
)""",
    """CREATE INDEX kernels_pending_idx ON kernels (scaling_group, session_id, kernel_index)
    WHERE status = 'PENDING'""",
    """CREATE INDEX kernels_occupying_idx ON kernels (agent_id)
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')""",
    """CREATE TABLE session_dependencies (
    session_id uuid NOT NULL,
    depends_on uuid NOT NULL,
    CONSTRAINT session_dependencies_pkey PRIMARY KEY (session_id, depends_on),
    CONSTRAINT session_dependencies_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT session_dependencies_depends_on_check CHECK (session_id <> depends_on)
)""",
    "CREATE INDEX session_dependencies_depends_on_idx ON session_dependencies (depends_on)",
    """CREATE FUNCTION session_dependencies_mark_sessions() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE sessions SET has_dependencies = true
    WHERE id IN (SELECT session_id FROM new_rows) AND NOT has_dependencies;
    RETURN NULL;
END
$$""",
    """CREATE TRIGGER session_dependencies_mark_sessions
    AFTER INSERT ON session_dependencies
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION session_dependencies_mark_sessions()""",
    """CREATE TABLE session_vfolder_mounts (
    session_id uuid NOT NULL,
    vfolder_id uuid NOT NULL,
    mount_path text NOT NULL,
    permission text COLLATE "C" NOT NULL,
    CONSTRAINT session_vfolder_mounts_pkey PRIMARY KEY (session_id, mount_path),
    CONSTRAINT session_vfolder_mounts_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT session_vfolder_mounts_vfolder_id_fkey FOREIGN KEY (vfolder_id) REFERENCES vfolders (id),
    CONSTRAINT session_vfolder_mounts_permission_check CHECK (permission IN ('READ_ONLY', 'READ_WRITE'))
)""",
    "CREATE INDEX session_vfolder_mounts_vfolder_id_idx ON session_vfolder_mounts (vfolder_id)",
    """CREATE TABLE session_history (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    session_id  uuid NOT NULL,
    kernel_id   uuid,
    from_status text COLLATE "C",
    to_status   text COLLATE "C" NOT NULL,
    reason      text,
    changed_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT session_history_pkey PRIMARY KEY (id),
    CONSTRAINT session_history_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT session_history_from_status_check CHECK (from_status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR')),
    CONSTRAINT session_history_to_status_check CHECK (to_status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR'))
)""",
    "CREATE INDEX session_history_session_id_idx ON session_history (session_id, id)",
)

# The reverse of the order above, so that no foreign key is in the way.
_TABLES: Final = (
    "session_history",
    "session_vfolder_mounts",
    "session_dependencies",
    "kernels",
    "sessions",
    "agent_history",
    "agent_heartbeats",
    "agent_slots",
    "agents",
    "scaling_groups",
    "vfolders",
    "quotas",
    "keypairs",
    "users",
    "projects",
    "domains",
    "resource_policies",
    "slot_types",
)
_FUNCTIONS: Final = ("session_dependencies_mark_sessions",)


def upgrade() -> None:
    """Create the tables with their indexes, functions and triggers."""
    for statement in _STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, and with them all that they hold."""
    for table in _TABLES:
        op.execute(f"DROP TABLE {table}")
    for function in _FUNCTIONS:
        op.execute(f"DROP FUNCTION {function}")
