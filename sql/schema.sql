-- The whole schema as the newest migration leaves it, for people to read.
--
-- Databases are made by the migrations (sql/migrations); `scheduler-repo db check` compares them with this file, and
-- tests compare it with the migrations and with the models (scheduler_repo/models). Privileges: sql/grants.sql.
--
-- Amounts are bigint in the slot's smallest unit (bytes, milli-cores, milli-shares). An amount per slot type is
-- a bigint[]; the slot type with slot_index i stands at element i + 1, what is missing at the end is 0. A comparison
-- with ALL is NULL, and so passes a CHECK, where an element is NULL: IS TRUE refuses it.
-- Every text has a longest length, in bytes of UTF-8: 1 KiB for what names something, 128 KiB for a reason. The checks of
-- scheduler_repo/validation.py say so before the database does. Rows from before these limits may be longer.
-- Status words are text with a CHECK: a new one is one migration, and psql shows it as it is.

-- -- what resources there are, and who may use them ------------------------------------------------

CREATE TABLE slot_types (
    name            text COLLATE "C" NOT NULL,
    slot_index      smallint NOT NULL,              -- position in every amount array; never reused
    units_per_whole bigint NOT NULL DEFAULT 1,      -- smallest units in one unit as people write it
    display_unit    text NOT NULL DEFAULT '',
    CONSTRAINT slot_types_pkey PRIMARY KEY (name),
    CONSTRAINT slot_types_slot_index_key UNIQUE (slot_index),
    CONSTRAINT slot_types_slot_index_check CHECK (slot_index BETWEEN 0 AND 63),
    CONSTRAINT slot_types_units_per_whole_check CHECK (units_per_whole > 0),
    CONSTRAINT slot_types_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT slot_types_display_unit_length_check CHECK (octet_length(display_unit) <= 1024)
);

CREATE TABLE resource_policies (
    name                    text COLLATE "C" NOT NULL,
    slot_limits             bigint[] NOT NULL DEFAULT '{}',     -- NULL element or missing at the end: no limit
    max_concurrent_sessions integer,
    max_kernels_per_session integer,
    CONSTRAINT resource_policies_pkey PRIMARY KEY (name),
    CONSTRAINT resource_policies_slot_limits_check
        CHECK (0 <= ALL (slot_limits)
            AND coalesce(array_ndims(slot_limits), 1) = 1 AND coalesce(array_lower(slot_limits, 1), 1) = 1),
    CONSTRAINT resource_policies_max_concurrent_sessions_check CHECK (max_concurrent_sessions >= 0),
    CONSTRAINT resource_policies_max_kernels_per_session_check CHECK (max_kernels_per_session >= 0),
    CONSTRAINT resource_policies_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT resource_policies_slot_limits_length_check CHECK (cardinality(slot_limits) <= 64)
);

CREATE TABLE domains (
    name       text COLLATE "C" NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT domains_pkey PRIMARY KEY (name),
    CONSTRAINT domains_name_length_check CHECK (octet_length(name) <= 1024)
);

CREATE TABLE projects (
    id          uuid NOT NULL,
    name        text COLLATE "C" NOT NULL,
    domain_name text COLLATE "C" NOT NULL,
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_domain_name_name_key UNIQUE (domain_name, name),
    CONSTRAINT projects_id_domain_name_key UNIQUE (id, domain_name),            -- what sessions refer to
    CONSTRAINT projects_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name),
    CONSTRAINT projects_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT projects_domain_name_length_check CHECK (octet_length(domain_name) <= 1024)
);

CREATE TABLE users (
    id          uuid NOT NULL,
    name        text COLLATE "C" NOT NULL,
    domain_name text COLLATE "C" NOT NULL,
    is_active   boolean NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT users_pkey PRIMARY KEY (id),
    CONSTRAINT users_domain_name_name_key UNIQUE (domain_name, name),
    CONSTRAINT users_domain_name_fkey FOREIGN KEY (domain_name) REFERENCES domains (name),
    CONSTRAINT users_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT users_domain_name_length_check CHECK (octet_length(domain_name) <= 1024)
);

CREATE TABLE keypairs (
    access_key text COLLATE "C" NOT NULL,
    user_id    uuid NOT NULL,
    is_active  boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT keypairs_pkey PRIMARY KEY (access_key),
    CONSTRAINT keypairs_access_key_user_id_key UNIQUE (access_key, user_id),    -- what sessions refer to
    CONSTRAINT keypairs_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT keypairs_access_key_length_check CHECK (octet_length(access_key) <= 1024)
);
CREATE INDEX keypairs_user_id_idx ON keypairs (user_id);

-- One row per limited owner: its policy, and limits of its own (the least of both holds). An owner without a row
-- is not limited. The row is also what an allocation locks, so that two cannot both take the last of a quota.
CREATE TABLE quotas (
    scope                   text COLLATE "C" NOT NULL,
    owner_id                text COLLATE "C" NOT NULL,  -- access key, user id, project id or domain name
    resource_policy         text COLLATE "C",
    slot_limits             bigint[] NOT NULL DEFAULT '{}',     -- NULL element or missing at the end: no limit
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
    CONSTRAINT quotas_max_concurrent_sessions_check CHECK (max_concurrent_sessions >= 0),
    CONSTRAINT quotas_owner_id_length_check CHECK (octet_length(owner_id) <= 1024),
    CONSTRAINT quotas_resource_policy_length_check CHECK (octet_length(resource_policy) <= 1024),
    CONSTRAINT quotas_slot_limits_length_check CHECK (cardinality(slot_limits) <= 64)
);
CREATE INDEX quotas_resource_policy_idx ON quotas (resource_policy);

-- What allocations and whoever adds a quota lock: an owner without a quota has no row. Those who wait are served in
-- turn, as they are not by a row that many hold at once. A view that cannot be written to, as nobody without the right to
-- lock it has more than ROW SHARE on it; on a table, a statement that is only prepared has ROW EXCLUSIVE.
CREATE VIEW quota_additions AS SELECT;

-- Hold off those who add quotas, or, to add one, wait for all allocations under way and hold new ones off; until the
-- transaction ends. False if that would mean to wait and may not.
CREATE FUNCTION hold_quotas(is_adding boolean, may_wait boolean) RETURNS boolean
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    IF is_adding THEN
        LOCK TABLE quota_additions IN SHARE ROW EXCLUSIVE MODE;
    ELSIF may_wait THEN
        LOCK TABLE quota_additions IN SHARE MODE;
    ELSE
        BEGIN
            LOCK TABLE quota_additions IN SHARE MODE NOWAIT;
        EXCEPTION WHEN lock_not_available THEN
            RETURN false;
        END;
    END IF;
    RETURN true;
END
$$;

CREATE TABLE vfolders (
    id          uuid NOT NULL,
    name        text NOT NULL,
    host        text NOT NULL,
    user_id     uuid,                               -- one of the two owns it
    project_id  uuid,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT vfolders_pkey PRIMARY KEY (id),
    CONSTRAINT vfolders_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id),
    CONSTRAINT vfolders_project_id_fkey FOREIGN KEY (project_id) REFERENCES projects (id),
    CONSTRAINT vfolders_owner_check CHECK ((user_id IS NULL) <> (project_id IS NULL)),
    CONSTRAINT vfolders_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT vfolders_host_length_check CHECK (octet_length(host) <= 1024)
);
CREATE INDEX vfolders_user_id_idx ON vfolders (user_id);
CREATE INDEX vfolders_project_id_idx ON vfolders (project_id);

-- -- the pools and their agents --------------------------------------------------------------------

CREATE TABLE scaling_groups (
    name                   text COLLATE "C" NOT NULL,
    is_active              boolean NOT NULL DEFAULT true,   -- false: its sessions wait
    pending_timeout        interval,                        -- how long a session may wait; NULL: for ever
    created_at             timestamptz NOT NULL DEFAULT now(),
    preemption_scope       text COLLATE "C",                -- whose sessions may be preempted; NULL: none
    preemption_min_runtime interval NOT NULL DEFAULT '0',   -- a session that ran shorter is left alone
    is_public              boolean NOT NULL DEFAULT true,   -- false: only owners with a grant may use it
    CONSTRAINT scaling_groups_pkey PRIMARY KEY (name),
    CONSTRAINT scaling_groups_pending_timeout_check CHECK (pending_timeout > interval '0'),
    CONSTRAINT scaling_groups_preemption_scope_check
        CHECK (preemption_scope IN ('USER', 'PROJECT', 'DOMAIN', 'GROUP')),
    CONSTRAINT scaling_groups_preemption_min_runtime_check CHECK (preemption_min_runtime >= interval '0'),
    CONSTRAINT scaling_groups_name_length_check CHECK (octet_length(name) <= 1024)
);

-- Which owners may use a group that is not public.
CREATE TABLE scaling_group_grants (
    scope         text COLLATE "C" NOT NULL,
    owner_id      text COLLATE "C" NOT NULL,        -- access key, user id, project id or domain name
    scaling_group text COLLATE "C" NOT NULL,
    CONSTRAINT scaling_group_grants_pkey PRIMARY KEY (scope, owner_id, scaling_group),
    CONSTRAINT scaling_group_grants_scaling_group_fkey
        FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT scaling_group_grants_scope_check CHECK (scope IN ('ACCESS_KEY', 'USER', 'PROJECT', 'DOMAIN')),
    CONSTRAINT scaling_group_grants_owner_id_check CHECK (
        scope IN ('ACCESS_KEY', 'DOMAIN')
        OR owner_id ~ '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'),
    CONSTRAINT scaling_group_grants_owner_id_length_check CHECK (octet_length(owner_id) <= 1024),
    CONSTRAINT scaling_group_grants_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024)
);
CREATE INDEX scaling_group_grants_scaling_group_idx ON scaling_group_grants (scaling_group);

CREATE TABLE agents (
    id                text COLLATE "C" NOT NULL,
    scaling_group     text COLLATE "C" NOT NULL,
    status            text COLLATE "C" NOT NULL DEFAULT 'ALIVE',
    is_schedulable    boolean NOT NULL DEFAULT true,    -- an operator's switch, whatever the status
    address           text NOT NULL,
    architecture      text COLLATE "C" NOT NULL,
    container_count   integer NOT NULL DEFAULT 0,       -- kernels that occupy it
    max_containers    integer,                          -- NULL: no limit
    created_at        timestamptz NOT NULL DEFAULT now(),
    status_changed_at timestamptz NOT NULL DEFAULT now(),
    returns_as        text COLLATE "C" NOT NULL DEFAULT 'ALIVE',    -- what a lost agent is when it is heard again
    CONSTRAINT agents_pkey PRIMARY KEY (id),
    CONSTRAINT agents_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT agents_status_check CHECK (status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED')),
    CONSTRAINT agents_container_count_check
        CHECK (container_count >= 0 AND (max_containers IS NULL OR container_count <= max_containers)),
    CONSTRAINT agents_returns_as_check CHECK (returns_as IN ('ALIVE', 'DRAINING')),
    CONSTRAINT agents_id_length_check CHECK (octet_length(id) <= 1024),
    CONSTRAINT agents_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024),
    CONSTRAINT agents_address_length_check CHECK (octet_length(address) <= 1024),
    CONSTRAINT agents_architecture_length_check CHECK (octet_length(architecture) <= 1024)
);
CREATE INDEX agents_schedulable_idx ON agents (scaling_group, id) WHERE status = 'ALIVE' AND is_schedulable;
CREATE INDEX agents_scaling_group_idx ON agents (scaling_group, id);

-- The ledger. capacity is what may be given away; reported_capacity is what the agent last said of itself: an
-- agent that shrinks under load changes only the latter.
CREATE TABLE agent_slots (
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
    CONSTRAINT agent_slots_reported_capacity_check CHECK (reported_capacity >= 0),
    CONSTRAINT agent_slots_agent_id_length_check CHECK (octet_length(agent_id) <= 1024),
    CONSTRAINT agent_slots_slot_name_length_check CHECK (octet_length(slot_name) <= 1024)
) WITH (fillfactor = 70);
CREATE INDEX agent_slots_slot_name_idx ON agent_slots (slot_name);

-- Apart from agents, because it changes every few seconds and nothing else of an agent does.
CREATE TABLE agent_heartbeats (
    agent_id     text COLLATE "C" NOT NULL,
    heartbeat_at timestamptz NOT NULL,
    CONSTRAINT agent_heartbeats_pkey PRIMARY KEY (agent_id),
    CONSTRAINT agent_heartbeats_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT agent_heartbeats_agent_id_length_check CHECK (octet_length(agent_id) <= 1024)
) WITH (fillfactor = 50);

CREATE TABLE agent_history (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    agent_id    text COLLATE "C" NOT NULL,
    from_status text COLLATE "C",
    to_status   text COLLATE "C" NOT NULL,
    reason      text,
    changed_at  timestamptz NOT NULL DEFAULT statement_timestamp(),    -- nobody else's clock
    CONSTRAINT agent_history_pkey PRIMARY KEY (id),
    CONSTRAINT agent_history_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT agent_history_from_status_check
        CHECK (from_status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED')),
    CONSTRAINT agent_history_to_status_check
        CHECK (to_status IN ('ALIVE', 'DRAINING', 'LOST', 'TERMINATED')),
    CONSTRAINT agent_history_agent_id_length_check CHECK (octet_length(agent_id) <= 1024),
    CONSTRAINT agent_history_reason_length_check CHECK (octet_length(reason) <= 131072)
);
CREATE INDEX agent_history_agent_id_idx ON agent_history (agent_id, id);
CREATE INDEX agent_history_changed_at_idx ON agent_history (changed_at);

-- -- the work ----------------------------------------------------------------------------------------

CREATE TABLE sessions (
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
    result               text COLLATE "C",          -- of a finished session; NULL: not known
    designated_agent_ids text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- empty: any agent
    created_at           timestamptz NOT NULL DEFAULT now(),
    requested_start_at   timestamptz,               -- not before; no infinity, clients cannot compare it
    has_dependencies     boolean NOT NULL DEFAULT false,    -- kept by a trigger of session_dependencies
    status_changed_at    timestamptz NOT NULL DEFAULT now(),
    retry_count          integer NOT NULL DEFAULT 0,    -- how often it went back to the queue; with the id: one attempt
    failed_agent_ids     text[] COLLATE "C" NOT NULL DEFAULT '{}',  -- where earlier attempts failed; a hint
    dispatched_at        timestamptz,               -- when its agents were told to start it; NULL: not yet
    CONSTRAINT sessions_pkey PRIMARY KEY (id),
    CONSTRAINT sessions_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    -- The key is its user's, the project of its domain. Each is one look-up per new session, not two.
    CONSTRAINT sessions_access_key_user_id_fkey
        FOREIGN KEY (access_key, user_id) REFERENCES keypairs (access_key, user_id),
    CONSTRAINT sessions_project_id_domain_name_fkey
        FOREIGN KEY (project_id, domain_name) REFERENCES projects (id, domain_name),
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
        ('' <> ALL (designated_agent_ids)) IS TRUE AND coalesce(array_ndims(designated_agent_ids), 1) = 1),
    CONSTRAINT sessions_retry_count_check CHECK (retry_count >= 0),
    CONSTRAINT sessions_failed_agent_ids_check CHECK (
        ('' <> ALL (failed_agent_ids)) IS TRUE AND coalesce(array_ndims(failed_agent_ids), 1) = 1),
    CONSTRAINT sessions_dispatched_at_check CHECK (dispatched_at IS NULL OR status <> 'PENDING'),
    CONSTRAINT sessions_name_length_check CHECK (octet_length(name) <= 1024),
    CONSTRAINT sessions_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024),
    CONSTRAINT sessions_access_key_length_check CHECK (octet_length(access_key) <= 1024),
    CONSTRAINT sessions_domain_name_length_check CHECK (octet_length(domain_name) <= 1024),
    CONSTRAINT sessions_designated_agent_ids_length_check
        CHECK (cardinality(designated_agent_ids) <= 4096 AND octet_length(array_to_string(designated_agent_ids, '')) <= 131072),
    CONSTRAINT sessions_failed_agent_ids_length_check
        CHECK (cardinality(failed_agent_ids) <= 4096 AND octet_length(array_to_string(failed_agent_ids, '')) <= 131072)
);
-- The queue of a group, in its order. Of the partial ones finished sessions are in the last alone, for their purge.
CREATE INDEX sessions_pending_idx ON sessions (scaling_group, priority DESC, created_at, id)
    WHERE status = 'PENDING';
CREATE INDEX sessions_pending_dependent_idx ON sessions (scaling_group, id)
    WHERE status = 'PENDING' AND has_dependencies;
CREATE INDEX sessions_occupying_idx ON sessions (access_key, user_id, project_id, domain_name)
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING');
-- Whose agents are still to be told to start them, the longest waiting first.
CREATE INDEX sessions_undispatched_idx ON sessions (scaling_group, status_changed_at, id)
    WHERE status IN ('SCHEDULED', 'PREPARING') AND dispatched_at IS NULL;
-- Which may be preempted, the least important first.
CREATE INDEX sessions_running_idx ON sessions (scaling_group, priority, id) WHERE status = 'RUNNING';
CREATE INDEX sessions_finished_idx ON sessions (status_changed_at, id)
    WHERE status IN ('TERMINATED', 'CANCELLED', 'ERROR');
-- Searches, page by page: of all, of one access key, one project, one group.
CREATE INDEX sessions_created_at_idx ON sessions (created_at, id);
CREATE INDEX sessions_access_key_idx ON sessions (access_key, created_at, id);
CREATE INDEX sessions_project_id_idx ON sessions (project_id, created_at, id);
CREATE INDEX sessions_scaling_group_idx ON sessions (scaling_group, created_at, id);

-- The owner columns are the session's, copied so that usage is summed without a join.
CREATE TABLE kernels (
    id                uuid NOT NULL,
    session_id        uuid NOT NULL,
    kernel_index      integer NOT NULL,
    scaling_group     text COLLATE "C" NOT NULL,
    access_key        text COLLATE "C" NOT NULL,
    user_id           uuid NOT NULL,
    project_id        uuid NOT NULL,
    domain_name       text COLLATE "C" NOT NULL,
    image             text NOT NULL DEFAULT '',
    architecture      text COLLATE "C",             -- NULL: any
    status            text COLLATE "C" NOT NULL DEFAULT 'PENDING',
    agent_id          text COLLATE "C",             -- kept when it has ended
    requested_slots   bigint[] NOT NULL,
    occupied_slots    bigint[] NOT NULL DEFAULT '{}',   -- kept when it has ended; counted while it occupies
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
        AND coalesce(array_ndims(occupied_slots), 1) = 1 AND coalesce(array_lower(occupied_slots, 1), 1) = 1),
    CONSTRAINT kernels_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024),
    CONSTRAINT kernels_access_key_length_check CHECK (octet_length(access_key) <= 1024),
    CONSTRAINT kernels_domain_name_length_check CHECK (octet_length(domain_name) <= 1024),
    CONSTRAINT kernels_image_length_check CHECK (octet_length(image) <= 1024),
    CONSTRAINT kernels_architecture_length_check CHECK (octet_length(architecture) <= 1024),
    CONSTRAINT kernels_agent_id_length_check CHECK (octet_length(agent_id) <= 1024),
    CONSTRAINT kernels_requested_slots_length_check CHECK (cardinality(requested_slots) <= 64),
    CONSTRAINT kernels_occupied_slots_length_check CHECK (cardinality(occupied_slots) <= 64)
);
CREATE INDEX kernels_pending_idx ON kernels (scaling_group, session_id, kernel_index) WHERE status = 'PENDING';
CREATE INDEX kernels_occupying_idx ON kernels (agent_id)
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING');

-- depends_on has no foreign key: a finished session may be purged, and its dependants must say so.
CREATE TABLE session_dependencies (
    session_id uuid NOT NULL,
    depends_on uuid NOT NULL,
    CONSTRAINT session_dependencies_pkey PRIMARY KEY (session_id, depends_on),
    CONSTRAINT session_dependencies_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT session_dependencies_depends_on_check CHECK (session_id <> depends_on)
);
CREATE INDEX session_dependencies_depends_on_idx ON session_dependencies (depends_on);

-- So that the few pending sessions with dependencies are found without a look at those of all the others.
CREATE FUNCTION session_dependencies_mark_sessions() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT    -- the schema, then pg_temp: pg_dump restores with an empty one
    AS $$
BEGIN
    UPDATE sessions SET has_dependencies = true
    WHERE id IN (SELECT session_id FROM new_rows) AND NOT has_dependencies;
    RETURN NULL;
END
$$;
CREATE TRIGGER session_dependencies_mark_sessions
    AFTER INSERT ON session_dependencies
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION session_dependencies_mark_sessions();

CREATE TABLE session_vfolder_mounts (
    session_id uuid NOT NULL,
    vfolder_id uuid NOT NULL,
    mount_path text NOT NULL,
    permission text COLLATE "C" NOT NULL,
    CONSTRAINT session_vfolder_mounts_pkey PRIMARY KEY (session_id, mount_path),
    CONSTRAINT session_vfolder_mounts_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT session_vfolder_mounts_vfolder_id_fkey FOREIGN KEY (vfolder_id) REFERENCES vfolders (id),
    CONSTRAINT session_vfolder_mounts_permission_check CHECK (permission IN ('READ_ONLY', 'READ_WRITE')),
    CONSTRAINT session_vfolder_mounts_mount_path_length_check CHECK (octet_length(mount_path) <= 1024)
);
CREATE INDEX session_vfolder_mounts_vfolder_id_idx ON session_vfolder_mounts (vfolder_id);

-- One row per change of a session's status, or of one kernel's where kernel_id is set. No foreign key: the change
-- and its row are one statement, and the check was a tenth of every write. Whoever deletes a session deletes it too.
CREATE TABLE session_history (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    session_id  uuid NOT NULL,
    kernel_id   uuid,
    from_status text COLLATE "C",                   -- NULL: it was created
    to_status   text COLLATE "C" NOT NULL,
    reason      text,
    changed_at  timestamptz NOT NULL DEFAULT statement_timestamp(),    -- nobody else's clock
    CONSTRAINT session_history_pkey PRIMARY KEY (id),
    CONSTRAINT session_history_from_status_check CHECK (from_status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR')),
    CONSTRAINT session_history_to_status_check CHECK (to_status IN (
        'PENDING', 'SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING', 'TERMINATED', 'CANCELLED', 'ERROR')),
    CONSTRAINT session_history_reason_length_check CHECK (octet_length(reason) <= 131072)
);
CREATE INDEX session_history_session_id_idx ON session_history (session_id, id);

-- -- the decisions ---------------------------------------------------------------------------------

-- Capacity held for a pending session while its victims end: first reserved, first served.
CREATE TABLE reservations (
    session_id    uuid NOT NULL,
    position      bigint GENERATED ALWAYS AS IDENTITY,
    scaling_group text COLLATE "C" NOT NULL,
    reserved_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT reservations_pkey PRIMARY KEY (session_id),
    CONSTRAINT reservations_position_key UNIQUE (position),
    CONSTRAINT reservations_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES sessions (id) ON DELETE CASCADE,
    CONSTRAINT reservations_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT reservations_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024)
);
CREATE INDEX reservations_scaling_group_idx ON reservations (scaling_group, position);

-- The agent on which each kernel of a reservation is held; what it holds is what the kernel requests.
CREATE TABLE kernel_reservations (
    kernel_id  uuid NOT NULL,
    session_id uuid NOT NULL,
    agent_id   text COLLATE "C" NOT NULL,
    CONSTRAINT kernel_reservations_pkey PRIMARY KEY (kernel_id),
    CONSTRAINT kernel_reservations_kernel_id_fkey
        FOREIGN KEY (kernel_id) REFERENCES kernels (id) ON DELETE CASCADE,
    CONSTRAINT kernel_reservations_session_id_fkey
        FOREIGN KEY (session_id) REFERENCES reservations (session_id) ON DELETE CASCADE,
    CONSTRAINT kernel_reservations_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE,
    CONSTRAINT kernel_reservations_agent_id_length_check CHECK (octet_length(agent_id) <= 1024)
);
CREATE INDEX kernel_reservations_session_id_idx ON kernel_reservations (session_id);
CREATE INDEX kernel_reservations_agent_id_idx ON kernel_reservations (agent_id);

-- An agent that takes kernels of the group no more serves no reservation, whoever changed it and how: the session is
-- placed as any other. All of its reservation ends, as what it holds on other agents is of no use without this one.
CREATE FUNCTION agents_end_reservations() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
DECLARE
    ended uuid;
BEGIN
    -- By id, one after the other, as all who delete reservations do.
    FOR ended IN
        SELECT DISTINCT r.session_id
        FROM reservations AS r
        JOIN kernel_reservations AS h ON h.session_id = r.session_id
        JOIN agents AS a ON a.id = h.agent_id
        WHERE a.status <> 'ALIVE' OR NOT a.is_schedulable OR a.scaling_group <> r.scaling_group
        ORDER BY r.session_id
    LOOP
        DELETE FROM reservations WHERE session_id = ended;
    END LOOP;
    RETURN NULL;
END
$$;
CREATE TRIGGER agents_end_reservations
    AFTER UPDATE OF scaling_group, status, is_schedulable ON agents
    FOR EACH STATEMENT EXECUTE FUNCTION agents_end_reservations();

-- One row per write: its result, so that asking again under the same id answers the same.
CREATE TABLE operations (
    id             uuid NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    request_digest bytea NOT NULL,                  -- of what was asked: another request may not use the id
    result         bytea,                           -- NULL only inside the transaction that makes it
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT operations_pkey PRIMARY KEY (id),
    CONSTRAINT operations_kind_length_check CHECK (octet_length(kind) <= 1024),
    CONSTRAINT operations_request_digest_length_check CHECK (octet_length(request_digest) <= 64),
    CONSTRAINT operations_result_length_check CHECK (octet_length(result) <= 67108864)
) WITH (fillfactor = 70);
CREATE INDEX operations_created_at_idx ON operations (created_at);

-- Who may write the decisions of a group. The epoch only grows, so that a former holder is recognised.
CREATE TABLE scheduler_leases (
    scaling_group text COLLATE "C" NOT NULL,
    holder        text COLLATE "C" NOT NULL,
    epoch         bigint NOT NULL,
    acquired_at   timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    CONSTRAINT scheduler_leases_pkey PRIMARY KEY (scaling_group),
    CONSTRAINT scheduler_leases_scaling_group_fkey FOREIGN KEY (scaling_group) REFERENCES scaling_groups (name),
    CONSTRAINT scheduler_leases_holder_check CHECK (holder <> ''),
    CONSTRAINT scheduler_leases_epoch_check CHECK (epoch > 0),
    CONSTRAINT scheduler_leases_scaling_group_length_check CHECK (octet_length(scaling_group) <= 1024),
    CONSTRAINT scheduler_leases_holder_length_check CHECK (octet_length(holder) <= 1024)
);

-- -- what changed ------------------------------------------------------------------------------------

-- Whatever changes what a tick reads leaves a row here, in the writer's own transaction, whoever writes and how; sql/README.md
-- says how it is read. A row per statement, by its kind:
--   s  sessions: theirs, or of their kernels or dependencies, was made, changed or deleted (sessions)
--   r  the reservations of sessions (sessions)
--   a  agents, or their slots (names: agent ids)
--   g  scaling groups (names)
--   q  quotas (names: scope:owner_id)
--   p  resource policies (names)
--   *  everything may have changed: slot types, a TRUNCATE, very many rows at once
-- Heartbeats, histories, leases, operations, mounts, grants and owners leave none. That a row was changed does not say
-- that it reads otherwise than before.
CREATE TABLE change_log (
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind     "char" NOT NULL,
    sessions uuid[],
    names    text[] COLLATE "C"
);
ALTER TABLE change_log ALTER sessions SET STORAGE EXTERNAL, ALTER names SET STORAGE EXTERNAL;
CREATE INDEX change_log_xid_idx ON change_log (xid);
-- Without a key, rows of a table that is published (as a publication FOR ALL TABLES has it) could not be deleted.
ALTER TABLE change_log REPLICA IDENTITY FULL;

-- By how much a statement changed what owners occupy: signed amounts by slot index, and the number of sessions. They are
-- numeric, as sums may pass 63 bits, and one owner's must not fail another's write.
CREATE TABLE usage_log (
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    access_key    text COLLATE "C" NOT NULL,
    user_id       uuid NOT NULL,
    project_id    uuid NOT NULL,
    domain_name   text COLLATE "C" NOT NULL,
    session_count bigint NOT NULL,
    slots         numeric[] NOT NULL
);
CREATE INDEX usage_log_xid_idx ON usage_log (xid);
ALTER TABLE usage_log REPLICA IDENTITY FULL;

-- What each owner occupied as of change_floor.folded: what it occupies now is this and the rows of usage_log since.
CREATE TABLE owner_usage (
    scope         text COLLATE "C" NOT NULL,
    owner_id      text COLLATE "C" NOT NULL,        -- access key, user id, project id or domain name
    session_count bigint NOT NULL,
    slots         numeric[] NOT NULL,
    CONSTRAINT owner_usage_pkey PRIMARY KEY (scope, owner_id)
) WITH (fillfactor = 70);

-- One row. Rows of the logs that are visible in floor may be gone; those visible in folded are in owner_usage.
CREATE TABLE change_floor (
    floor         pg_snapshot NOT NULL,
    folded        pg_snapshot NOT NULL,
    next_floor    pg_snapshot NOT NULL,             -- what floor is raised to
    next_floor_at timestamptz NOT NULL,             -- when it was now
    folded_at     timestamptz NOT NULL,             -- when folded was raised
    cluster       bigint NOT NULL,                  -- the system identifier: whose transaction ids these are
    id            integer NOT NULL DEFAULT 1,
    CONSTRAINT change_floor_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX change_floor_only_row ON change_floor ((true));

-- One row, which a crash of the server takes away: commits that it lost leave no other trace.
CREATE UNLOGGED TABLE server_life (
    life uuid NOT NULL
);
CREATE UNIQUE INDEX server_life_only_row ON server_life ((true));

-- What occupies agents now, summed over all sessions and kernels that do: what usage must equal.
CREATE VIEW counted_usage AS
SELECT access_key, user_id, project_id, domain_name, count(*) AS session_count, '{}'::numeric[] AS slots
FROM sessions
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
GROUP BY access_key, user_id, project_id, domain_name
UNION ALL
SELECT access_key, user_id, project_id, domain_name, 0, array_agg(amount ORDER BY position)
FROM (
    SELECT k.access_key, k.user_id, k.project_id, k.domain_name, o.position, sum(o.amount) AS amount
    FROM kernels AS k
    CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
    WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY k.access_key, k.user_id, k.project_id, k.domain_name, o.position
) AS sums
GROUP BY access_key, user_id, project_id, domain_name;

-- A dump carries the transaction ids of the cluster that it was made in. In another one they may be of the future: what is
-- written then seems to be folded already. And a dump without rows has no floor: then nothing would be unfolded.
CREATE FUNCTION refuse_restored_usage() RETURNS xid8
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    RAISE EXCEPTION 'what owners occupy was restored in part or from another cluster, and is not counted yet'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'run scheduler-repo db upgrade, or SELECT rebuild_usage()';
END
$$;

-- The rows of usage_log that are not in owner_usage yet.
CREATE VIEW unfolded_usage AS
SELECT u.*
FROM usage_log AS u
WHERE u.xid >= (
    SELECT CASE WHEN pg_snapshot_xmax(folded) <= pg_snapshot_xmax(pg_current_snapshot())
           THEN pg_snapshot_xmax(folded) ELSE refuse_restored_usage() END
    FROM (VALUES (1)) AS always
    LEFT JOIN change_floor ON true
)
UNION ALL
SELECT u.*
FROM usage_log AS u
WHERE u.xid = ANY (ARRAY(SELECT pg_snapshot_xip(folded) FROM change_floor));

-- What each owner occupies now, in parts that are still to be added up by slot: one from owner_usage, one for each row since.
CREATE VIEW usage_parts AS
SELECT scope, owner_id, session_count, slots
FROM owner_usage
UNION ALL
SELECT o.scope, o.owner_id, u.session_count, u.slots
FROM unfolded_usage AS u
CROSS JOIN LATERAL (VALUES
    ('ACCESS_KEY' COLLATE "C", u.access_key COLLATE "C"), ('USER', u.user_id::text),
    ('PROJECT', u.project_id::text), ('DOMAIN', u.domain_name)
) AS o (scope, owner_id);

-- The triggers' functions run as the owner of the logs, which nobody else writes to. None fails for what it counts, and
-- none lists more than 100,000 sessions or names: reading everything is cheaper then. changed_rows are the new rows of an
-- INSERT or UPDATE, or those that a DELETE took away.

CREATE FUNCTION log_sessions() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, sessions)
    SELECT CASE WHEN count(*) <= 100000 THEN 's' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(id) END
    FROM (SELECT id FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

-- For kernels and dependencies.
CREATE FUNCTION log_parts_of_sessions() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, sessions)
    SELECT CASE WHEN count(*) <= 100000 THEN 's' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(session_id) END
    FROM (SELECT session_id FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

-- For reservations and for what they hold.
CREATE FUNCTION log_reservations() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, sessions)
    SELECT CASE WHEN count(*) <= 100000 THEN 'r' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(session_id) END
    FROM (SELECT DISTINCT session_id FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION log_agents() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, names)
    SELECT CASE WHEN count(*) <= 100000 THEN 'a' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(id) END
    FROM (SELECT id FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION log_agent_slots() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, names)
    SELECT CASE WHEN count(*) <= 100000 THEN 'a' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(agent_id) END
    FROM (SELECT DISTINCT agent_id FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION log_scaling_groups() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, names)
    SELECT CASE WHEN count(*) <= 100000 THEN 'g' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(name) END
    FROM (SELECT name FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION log_quotas() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, names)
    SELECT CASE WHEN count(*) <= 100000 THEN 'q' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(name) END
    FROM (SELECT scope || ':' || owner_id AS name FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

CREATE FUNCTION log_resource_policies() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind, names)
    SELECT CASE WHEN count(*) <= 100000 THEN 'p' ELSE '*' END,
           CASE WHEN count(*) <= 100000 THEN array_agg(name) END
    FROM (SELECT name FROM changed_rows LIMIT 100001) AS listed
    HAVING count(*) > 0;
    RETURN NULL;
END
$$;

-- The width of every vector of amounts depends on them.
CREATE FUNCTION log_slot_types() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind) SELECT '*' WHERE EXISTS (SELECT FROM changed_rows);
    RETURN NULL;
END
$$;

CREATE FUNCTION log_session_usage() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    direction CONSTANT integer := CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END;
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
        SELECT access_key, user_id, project_id, domain_name, direction * count(*), '{}'
        FROM changed_rows
        WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
        GROUP BY access_key, user_id, project_id, domain_name;
    ELSE
        INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
        SELECT access_key, user_id, project_id, domain_name, sum(change), '{}'
        FROM (
            SELECT access_key, user_id, project_id, domain_name, 1 AS change
            FROM changed_rows
            WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
            UNION ALL
            SELECT access_key, user_id, project_id, domain_name, -1
            FROM old_rows
            WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
        ) AS changes
        GROUP BY access_key, user_id, project_id, domain_name
        HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END
$$;

-- The first slots are summed as columns, four or, where there are more slot types, eight: taking every array apart costs many
-- times as much. No sum is there for a slot that no array has. What few arrays are longer follows in a row of its own.
CREATE FUNCTION log_kernel_usage() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    direction CONSTANT integer := CASE TG_OP WHEN 'DELETE' THEN -1 ELSE 1 END;
    is_wide CONSTANT boolean := (SELECT count(*) > 4 FROM slot_types);
    first_left CONSTANT integer := CASE WHEN is_wide THEN 9 ELSE 5 END;
    has_longer boolean;
    compared integer;
    is_same boolean;
BEGIN
    IF TG_OP <> 'UPDATE' THEN
        WITH sums AS MATERIALIZED (
            SELECT access_key, user_id, project_id, domain_name,
                   sum(direction * occupied_slots[1]) AS s1, sum(direction * occupied_slots[2]) AS s2,
                   sum(direction * occupied_slots[3]) AS s3, sum(direction * occupied_slots[4]) AS s4,
                   sum(direction * occupied_slots[5]) FILTER (WHERE is_wide) AS s5,
                   sum(direction * occupied_slots[6]) FILTER (WHERE is_wide) AS s6,
                   sum(direction * occupied_slots[7]) FILTER (WHERE is_wide) AS s7,
                   sum(direction * occupied_slots[8]) FILTER (WHERE is_wide) AS s8,
                   count(occupied_slots[first_left]) AS longer
            FROM changed_rows
            WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
            GROUP BY access_key, user_id, project_id, domain_name
        ), logged AS (
            INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
            SELECT access_key, user_id, project_id, domain_name, 0,
                   array_remove(ARRAY[s1, s2, s3, s4, s5, s6, s7, s8], NULL)
            FROM sums
            WHERE s1 <> 0 OR s2 <> 0 OR s3 <> 0 OR s4 <> 0 OR s5 <> 0 OR s6 <> 0 OR s7 <> 0 OR s8 <> 0
        )
        SELECT sum(longer) > 0 INTO has_longer FROM sums;
        IF has_longer THEN
            INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
            SELECT access_key, user_id, project_id, domain_name, 0,
                   array_fill(0::numeric, ARRAY[first_left - 1]) || array_agg(amount ORDER BY position)
            FROM (
                SELECT access_key, user_id, project_id, domain_name, position, sum(direction * amount) AS amount
                FROM changed_rows
                CROSS JOIN LATERAL unnest(occupied_slots[first_left:]) WITH ORDINALITY AS o (amount, position)
                WHERE cardinality(occupied_slots) >= first_left
                  AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
                GROUP BY access_key, user_id, project_id, domain_name, position
            ) AS sums
            GROUP BY access_key, user_id, project_id, domain_name
            HAVING bool_or(amount <> 0);
        END IF;
    ELSE
        -- Most updates change the usage of no row, or of each. Both tables have the rows in the order in which
        -- they were written: where each is as it was, nothing need be summed up. The first ten tell whether it
        -- is worth comparing all.
        FOREACH compared IN ARRAY ARRAY[10, 100001] LOOP
            is_same := (
                SELECT array_agg(usage) FROM (
                    SELECT ROW(access_key, user_id, project_id, domain_name, occupied_slots,
                               status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')) AS usage
                    FROM changed_rows LIMIT compared) AS first
                HAVING count(*) <= 100000
            ) = (
                SELECT array_agg(usage) FROM (
                    SELECT ROW(access_key, user_id, project_id, domain_name, occupied_slots,
                               status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')) AS usage
                    FROM old_rows LIMIT compared) AS first
            );
            EXIT WHEN is_same IS NOT TRUE;
        END LOOP;
        IF is_same THEN
            RETURN NULL;
        END IF;
        WITH sums AS MATERIALIZED (
            SELECT access_key, user_id, project_id, domain_name,
                   sum(sign * occupied_slots[1]) AS s1, sum(sign * occupied_slots[2]) AS s2,
                   sum(sign * occupied_slots[3]) AS s3, sum(sign * occupied_slots[4]) AS s4,
                   sum(sign * occupied_slots[5]) FILTER (WHERE is_wide) AS s5,
                   sum(sign * occupied_slots[6]) FILTER (WHERE is_wide) AS s6,
                   sum(sign * occupied_slots[7]) FILTER (WHERE is_wide) AS s7,
                   sum(sign * occupied_slots[8]) FILTER (WHERE is_wide) AS s8,
                   count(occupied_slots[first_left]) AS longer
            FROM (
                SELECT access_key, user_id, project_id, domain_name, occupied_slots, 1 AS sign
                FROM changed_rows
                WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
                UNION ALL
                SELECT access_key, user_id, project_id, domain_name, occupied_slots, -1
                FROM old_rows
                WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
            ) AS changes
            GROUP BY access_key, user_id, project_id, domain_name
        ), logged AS (
            INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
            SELECT access_key, user_id, project_id, domain_name, 0,
                   array_remove(ARRAY[s1, s2, s3, s4, s5, s6, s7, s8], NULL)
            FROM sums
            WHERE s1 <> 0 OR s2 <> 0 OR s3 <> 0 OR s4 <> 0 OR s5 <> 0 OR s6 <> 0 OR s7 <> 0 OR s8 <> 0
        )
        SELECT sum(longer) > 0 INTO has_longer FROM sums;
        IF has_longer THEN
            INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
            SELECT access_key, user_id, project_id, domain_name, 0,
                   array_fill(0::numeric, ARRAY[first_left - 1]) || array_agg(amount ORDER BY position)
            FROM (
                SELECT k.access_key, k.user_id, k.project_id, k.domain_name, o.position,
                       sum(k.sign * o.amount) AS amount
                FROM (
                    SELECT access_key, user_id, project_id, domain_name, occupied_slots, 1 AS sign
                    FROM changed_rows
                    WHERE cardinality(occupied_slots) >= first_left
                      AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
                    UNION ALL
                    SELECT access_key, user_id, project_id, domain_name, occupied_slots, -1
                    FROM old_rows
                    WHERE cardinality(occupied_slots) >= first_left
                      AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
                ) AS k
                CROSS JOIN LATERAL unnest(k.occupied_slots[first_left:]) WITH ORDINALITY AS o (amount, position)
                GROUP BY k.access_key, k.user_id, k.project_id, k.domain_name, o.position
            ) AS sums
            GROUP BY access_key, user_id, project_id, domain_name
            HAVING bool_or(amount <> 0);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

-- A row whose key was changed is no more what it was: the former key, too. Its arguments are the kind and the key.
CREATE FUNCTION log_former_key() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    former CONSTANT jsonb := to_jsonb(OLD);
    name CONSTANT text := concat_ws(':', former ->> TG_ARGV[1], former ->> TG_ARGV[2]);
BEGIN
    IF TG_ARGV[0] IN ('s', 'r') THEN
        INSERT INTO change_log (kind, sessions) VALUES (TG_ARGV[0]::"char", ARRAY[name::uuid]);
    ELSE
        INSERT INTO change_log (kind, names) VALUES (TG_ARGV[0]::"char", ARRAY[name]);
    END IF;
    RETURN NULL;
END
$$;

-- Before it, while what goes can be counted; the table is locked by then.
CREATE FUNCTION log_truncate() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind) VALUES ('*');
    IF TG_TABLE_NAME NOT IN ('sessions', 'kernels') THEN
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') NOT LIKE 'read %' THEN
        RAISE EXCEPTION 'TRUNCATE of %: what owners occupy cannot be counted in this transaction', TG_TABLE_NAME
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'It does not see what others have committed since it began.',
                  HINT = 'truncate it in a READ COMMITTED transaction';
    END IF;
    INSERT INTO usage_log (access_key, user_id, project_id, domain_name, session_count, slots)
    SELECT access_key, user_id, project_id, domain_name, -session_count, ARRAY(
        SELECT -o.amount FROM unnest(slots) WITH ORDINALITY AS o (amount, position) ORDER BY o.position)
    FROM counted_usage
    WHERE (session_count > 0) = (TG_TABLE_NAME = 'sessions');
    RETURN NULL;
END
$$;

-- What is logged: each table, with its function, kind and key. No trigger has a list of columns: that would be one more thing
-- to keep right, and a transition table cannot have it.
DO $triggers$
DECLARE
    logged record;
    usage record;
BEGIN
    FOR logged IN
        SELECT *
        FROM (VALUES
            ('slot_types', 'log_slot_types', NULL, NULL),
            ('resource_policies', 'log_resource_policies', 'p', '{name}'::text[]),
            ('quotas', 'log_quotas', 'q', '{scope,owner_id}'),
            ('scaling_groups', 'log_scaling_groups', 'g', '{name}'),
            ('agents', 'log_agents', 'a', '{id}'),
            ('agent_slots', 'log_agent_slots', 'a', '{agent_id}'),
            ('sessions', 'log_sessions', 's', '{id}'),
            ('kernels', 'log_parts_of_sessions', 's', '{session_id}'),
            ('session_dependencies', 'log_parts_of_sessions', 's', '{session_id}'),
            ('reservations', 'log_reservations', 'r', '{session_id}'),
            ('kernel_reservations', 'log_reservations', 'r', '{session_id}')
        ) AS tables (name, function, kind, key)
    LOOP
        EXECUTE format(
            'CREATE TRIGGER log_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', logged.name, logged.function);
        EXECUTE format(
            'CREATE TRIGGER log_update AFTER UPDATE ON %I REFERENCING NEW TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', logged.name, logged.function);
        EXECUTE format(
            'CREATE TRIGGER log_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', logged.name, logged.function);
        EXECUTE format(
            'CREATE TRIGGER log_truncate BEFORE TRUNCATE ON %I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION log_truncate()', logged.name);
        EXECUTE format(
            'ALTER TABLE %I ENABLE ALWAYS TRIGGER log_insert, ENABLE ALWAYS TRIGGER log_update,'
            ' ENABLE ALWAYS TRIGGER log_delete, ENABLE ALWAYS TRIGGER log_truncate', logged.name);
        IF logged.key IS NOT NULL THEN
            EXECUTE format(
                'CREATE TRIGGER log_former_key AFTER UPDATE ON %I FOR EACH ROW WHEN (%s)'
                ' EXECUTE FUNCTION log_former_key(%L, %s)', logged.name,
                (SELECT string_agg(format('OLD.%1$I IS DISTINCT FROM NEW.%1$I', part), ' OR ')
                 FROM unnest(logged.key) AS part),
                logged.kind,
                (SELECT string_agg(quote_literal(part), ', ') FROM unnest(logged.key) AS part));
            EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER log_former_key', logged.name);
        END IF;
    END LOOP;

    FOR usage IN
        SELECT *
        FROM (VALUES ('sessions', 'log_session_usage'), ('kernels', 'log_kernel_usage')) AS t (name, function)
    LOOP
        EXECUTE format(
            'CREATE TRIGGER log_usage_of_insert AFTER INSERT ON %I REFERENCING NEW TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', usage.name, usage.function);
        EXECUTE format(
            'CREATE TRIGGER log_usage_of_update AFTER UPDATE ON %I'
            ' REFERENCING OLD TABLE AS old_rows NEW TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', usage.name, usage.function);
        EXECUTE format(
            'CREATE TRIGGER log_usage_of_delete AFTER DELETE ON %I REFERENCING OLD TABLE AS changed_rows'
            ' FOR EACH STATEMENT EXECUTE FUNCTION %I()', usage.name, usage.function);
        EXECUTE format(
            'ALTER TABLE %I ENABLE ALWAYS TRIGGER log_usage_of_insert,'
            ' ENABLE ALWAYS TRIGGER log_usage_of_update, ENABLE ALWAYS TRIGGER log_usage_of_delete',
            usage.name);
    END LOOP;
END
$triggers$;

-- Only the functions below change what is kept of changes; they set scheduler_repo.keeps_changes while they do.

CREATE FUNCTION refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    RAISE EXCEPTION '% of %: fold_usage, trim_changes and rebuild_usage alone change it', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'object_not_in_prerequisite_state',
              DETAIL = 'Readers of changes and what owners occupy depend on it.',
              HINT = 'to count anew what owners occupy, SELECT rebuild_usage()';
END
$$;

-- A dump of the rows alone carries these too: they are dropped, as the rows of the tables are logged when they are restored.
CREATE FUNCTION drop_restored_row() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    RETURN NULL;
END
$$;

DO $triggers$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['change_log', 'usage_log', 'owner_usage', 'change_floor', 'server_life'] LOOP
        EXECUTE format(
            'CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %I FOR EACH STATEMENT'
            ' WHEN (current_setting(''scheduler_repo.keeps_changes'', true) IS DISTINCT FROM ''on'')'
            ' EXECUTE FUNCTION refuse_change()', kept);
        EXECUTE format(
            'CREATE TRIGGER drop_restored_row BEFORE INSERT ON %I FOR EACH ROW WHEN (%s)'
            ' EXECUTE FUNCTION drop_restored_row()', kept,
            CASE WHEN kept LIKE '%log' THEN 'NEW.xid IS DISTINCT FROM pg_current_xact_id()'
                ELSE 'current_setting(''scheduler_repo.keeps_changes'', true) IS DISTINCT FROM ''on''' END);
        EXECUTE format(
            'ALTER TABLE %I ENABLE ALWAYS TRIGGER refuse_change, ENABLE ALWAYS TRIGGER drop_restored_row',
            kept);
    END LOOP;
END
$triggers$;

-- The snapshot of the calling statement, in which what this very transaction writes is not visible, now or later; nor are
-- transactions from until on, unless it is NULL.
CREATE FUNCTION snapshot_without_own(until xid8) RETURNS pg_snapshot
    LANGUAGE sql
    STABLE
    SET search_path FROM CURRENT
    AS $$
SELECT concat_ws(':', least(own, pg_snapshot_xmin(seen), ends_at), ends_at, coalesce((
           SELECT string_agg(xid::text, ',' ORDER BY xid)
           FROM (SELECT pg_snapshot_xip(seen) AS xid UNION SELECT own) AS in_progress
           WHERE xid < ends_at
       ), ''))::pg_snapshot
FROM (
    SELECT seen, own, least(until, pg_snapshot_xmax(seen)) AS ends_at
    FROM (SELECT pg_current_snapshot() AS seen, pg_current_xact_id() AS own) AS now
) AS bounds
$$;

-- Whether transaction ids of another cluster are there, which came with a dump: of the future, or of what runs here now.
CREATE FUNCTION is_usage_restored() RETURNS boolean
    LANGUAGE sql
    STABLE
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
SELECT NOT EXISTS (
           SELECT FROM change_floor
           WHERE now >= greatest(
               pg_snapshot_xmax(floor), pg_snapshot_xmax(folded), pg_snapshot_xmax(next_floor))
             AND cluster = (SELECT system_identifier FROM pg_control_system()))
    OR EXISTS (SELECT FROM usage_log WHERE xid >= now AND xid IS DISTINCT FROM own)
    OR EXISTS (SELECT FROM change_log WHERE xid >= now AND xid IS DISTINCT FROM own)
FROM (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS now, pg_current_xact_id_if_assigned() AS own) AS current
$$;

-- Count anew what owners occupy, and empty the logs: every reader of changes has to read everything once. Writers go on
-- meanwhile. The statement that counts is a later one than the lock, and sees what was committed until then.
CREATE FUNCTION rebuild_usage() RETURNS void
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    PERFORM set_config('scheduler_repo.keeps_changes', 'on', true);
    IF NOT EXISTS (SELECT FROM change_floor) THEN
        INSERT INTO change_floor
        SELECT now, now, now, statement_timestamp(), statement_timestamp(), system_identifier
        FROM (SELECT pg_current_snapshot() AS now) AS snapshot, pg_control_system()
        ON CONFLICT DO NOTHING;
    END IF;
    PERFORM FROM change_floor FOR UPDATE;

    WITH counted AS MATERIALIZED (
        SELECT o.scope, o.owner_id, c.session_count, c.slots
        FROM counted_usage AS c
        CROSS JOIN LATERAL (VALUES
            ('ACCESS_KEY' COLLATE "C", c.access_key COLLATE "C"), ('USER', c.user_id::text),
            ('PROJECT', c.project_id::text), ('DOMAIN', c.domain_name)
        ) AS o (scope, owner_id)
    ), counts AS (
        SELECT scope, owner_id, sum(session_count)::bigint AS session_count
        FROM counted
        GROUP BY scope, owner_id
    ), sums AS (
        SELECT scope, owner_id, array_agg(amount ORDER BY position) AS slots
        FROM (
            SELECT c.scope, c.owner_id, s.position, sum(s.amount) AS amount
            FROM counted AS c
            CROSS JOIN LATERAL unnest(c.slots) WITH ORDINALITY AS s (amount, position)
            GROUP BY c.scope, c.owner_id, s.position
        ) AS amounts
        GROUP BY scope, owner_id
    ), current AS MATERIALIZED (
        SELECT c.scope, c.owner_id, c.session_count, coalesce(s.slots, '{}') AS slots
        FROM counts AS c
        LEFT JOIN sums AS s ON s.scope = c.scope AND s.owner_id = c.owner_id
    ), gone AS (
        DELETE FROM owner_usage AS u
        WHERE NOT EXISTS (SELECT FROM current AS c WHERE c.scope = u.scope AND c.owner_id = u.owner_id)
    ), kept AS (
        INSERT INTO owner_usage AS u (scope, owner_id, session_count, slots)
        SELECT scope, owner_id, session_count, slots FROM current
        ON CONFLICT (scope, owner_id)
        DO UPDATE SET session_count = excluded.session_count, slots = excluded.slots
        WHERE (u.session_count, u.slots) IS DISTINCT FROM (excluded.session_count, excluded.slots)
    ), emptied_changes AS (
        DELETE FROM change_log
    ), emptied_usage AS (
        DELETE FROM usage_log
    )
    UPDATE change_floor
    SET floor = now, folded = now, next_floor = now, next_floor_at = statement_timestamp(),
        folded_at = statement_timestamp(), cluster = system_identifier
    FROM (SELECT snapshot_without_own(NULL) AS now) AS snapshot, pg_control_system();
    -- Who has read just before has the old sums, and no row above tells it.
    INSERT INTO change_log (kind) VALUES ('*');
    PERFORM set_config('scheduler_repo.keeps_changes', '', true);
END
$$;

-- Add to owner_usage the oldest batch_size rows, and what else their transactions wrote, of those that are in usage_log alone;
-- return how many rows that were, NULL if another one is at it. Nothing is deleted: readers of changes want the rows too. As in
-- rebuild_usage, what is added up is seen after the lock.
CREATE FUNCTION fold_usage(batch_size integer DEFAULT 100000) RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    SET work_mem = '32MB'
    AS $$
DECLARE
    until xid8;
    folded_rows bigint;
BEGIN
    IF is_usage_restored() THEN
        PERFORM rebuild_usage();
        RETURN 0;
    END IF;
    IF NOT EXISTS (SELECT FROM unfolded_usage) THEN
        RETURN 0;
    END IF;
    PERFORM FROM change_floor FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;

    -- All rows of a transaction are folded at once: no snapshot sees a part of it.
    SELECT (xid::text::numeric + 1)::text::xid8 INTO until
    FROM usage_log
    WHERE xid >= (SELECT pg_snapshot_xmax(folded) FROM change_floor)
    ORDER BY xid
    OFFSET greatest(batch_size, 1) - 1
    LIMIT 1;
    until := coalesce(until, pg_snapshot_xmax(pg_current_snapshot()));
    PERFORM set_config('scheduler_repo.keeps_changes', 'on', true);
    -- First per combination of owners, by columns, as when it was logged. From then on a number of sessions is
    -- an amount like others, before that of the first slot.
    WITH news AS MATERIALIZED (
        SELECT access_key, user_id, project_id, domain_name, count(*) AS log_rows,
               sum(session_count) AS sessions,
               sum(slots[1]) AS s1, sum(slots[2]) AS s2, sum(slots[3]) AS s3, sum(slots[4]) AS s4,
               sum(slots[5]) AS s5, sum(slots[6]) AS s6, sum(slots[7]) AS s7, sum(slots[8]) AS s8,
               count(slots[9]) AS longer
        FROM unfolded_usage
        WHERE xid < until AND xid <> pg_current_xact_id()
        GROUP BY access_key, user_id, project_id, domain_name
    ), amounts AS (
        SELECT n.access_key, n.user_id, n.project_id, n.domain_name, s.position, s.amount
        FROM news AS n
        CROSS JOIN LATERAL unnest(ARRAY[n.sessions, n.s1, n.s2, n.s3, n.s4, n.s5, n.s6, n.s7, n.s8])
            WITH ORDINALITY AS s (amount, position)
        WHERE s.amount IS NOT NULL
        UNION ALL
        SELECT u.access_key, u.user_id, u.project_id, u.domain_name, s.position + 9, s.amount
        FROM unfolded_usage AS u
        CROSS JOIN LATERAL unnest(u.slots[9:]) WITH ORDINALITY AS s (amount, position)
        WHERE (SELECT bool_or(longer > 0) FROM news) AND u.xid < until AND u.xid <> pg_current_xact_id()
    ), of_owners AS MATERIALIZED (
        SELECT o.scope, o.owner_id, a.position, sum(a.amount) AS amount
        FROM amounts AS a
        CROSS JOIN LATERAL (VALUES
            ('ACCESS_KEY' COLLATE "C", a.access_key COLLATE "C"), ('USER', a.user_id::text),
            ('PROJECT', a.project_id::text), ('DOMAIN', a.domain_name)
        ) AS o (scope, owner_id)
        GROUP BY o.scope, o.owner_id, a.position
    ), sums AS (
        SELECT scope, owner_id, position, sum(amount) AS amount
        FROM (
            SELECT scope, owner_id, position, amount
            FROM of_owners
            UNION ALL
            SELECT u.scope, u.owner_id, s.position, s.amount
            FROM owner_usage AS u
            CROSS JOIN LATERAL unnest(u.session_count::numeric || u.slots)
                WITH ORDINALITY AS s (amount, position)
            WHERE (u.scope, u.owner_id) IN (SELECT scope, owner_id FROM of_owners)
        ) AS parts
        GROUP BY scope, owner_id, position
    ), added AS (
        INSERT INTO owner_usage (scope, owner_id, session_count, slots)
        SELECT scope, owner_id, amounts[1]::bigint, amounts[2:]
        FROM (
            SELECT scope, owner_id, array_agg(amount ORDER BY position) AS amounts
            FROM sums
            GROUP BY scope, owner_id
        ) AS totals
        ON CONFLICT (scope, owner_id)
        DO UPDATE SET session_count = excluded.session_count, slots = excluded.slots
    ), advanced AS (
        UPDATE change_floor SET folded = snapshot_without_own(until), folded_at = statement_timestamp()
    )
    SELECT coalesce(sum(log_rows), 0) INTO folded_rows FROM news;
    PERFORM set_config('scheduler_repo.keeps_changes', '', true);
    RETURN folded_rows;
END
$$;

-- Delete rows of the logs that no reader needs any more, at most so many of each, and return how many went; NULL if another
-- one is at it. Readers whose last look is longer ago than kept_for, and at least a minute, read everything anew: the floor is
-- raised to where next_floor was so long ago.
CREATE FUNCTION trim_changes(kept_for interval, batch_size integer) RETURNS bigint
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    trimmed bigint;
BEGIN
    PERFORM FROM change_floor FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM set_config('scheduler_repo.keeps_changes', 'on', true);
    -- A time in the future is of a clock that was put back.
    UPDATE change_floor
    SET floor = next_floor, next_floor = snapshot_without_own(NULL), next_floor_at = statement_timestamp()
    WHERE statement_timestamp() - next_floor_at >= greatest(kept_for, interval '1 minute')
       OR next_floor_at > statement_timestamp() + interval '1 minute';

    WITH changes AS (
        DELETE FROM change_log
        WHERE ctid = ANY (ARRAY(
            SELECT c.ctid
            FROM change_log AS c
            WHERE c.xid < (SELECT pg_snapshot_xmax(floor) FROM change_floor)
              AND pg_visible_in_snapshot(c.xid, (SELECT floor FROM change_floor))
            LIMIT batch_size))
        RETURNING 1
    ), usage AS (
        DELETE FROM usage_log
        WHERE ctid = ANY (ARRAY(
            SELECT u.ctid
            FROM usage_log AS u
            WHERE u.xid < (SELECT pg_snapshot_xmax(floor) FROM change_floor)
              AND pg_visible_in_snapshot(u.xid, (SELECT floor FROM change_floor))
              AND pg_visible_in_snapshot(u.xid, (SELECT folded FROM change_floor))
            LIMIT batch_size))
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM changes) + (SELECT count(*) FROM usage) INTO trimmed;
    PERFORM set_config('scheduler_repo.keeps_changes', '', true);
    RETURN trimmed;
END
$$;

-- The history that the change log tells, for the token of a read; without one of the columns nothing can be asked since it.
-- A statement that names an unlogged table cannot even be planned on a standby: each one here is planned when it is run.
-- A row of either catalog has another xmin once a trigger or its function was changed, were it only for a moment.
-- is_log_long: whoever asks may fold and trim, and should, as nobody has for long, or as the logs came with a dump of another
-- cluster, and tell no history of this one. It costs a look at 500 rows at most.
CREATE FUNCTION change_history(
        OUT system_identifier bigint, OUT schema_oid oid, OUT log_oid oid, OUT timeline bigint, OUT life uuid,
        OUT triggers text, OUT is_log_long boolean)
    LANGUAGE plpgsql
    STABLE
    SET search_path FROM CURRENT
    AS $$
DECLARE
    logged CONSTANT regclass[] := ARRAY[
        'slot_types', 'resource_policies', 'quotas', 'scaling_groups', 'agents', 'agent_slots', 'sessions',
        'kernels', 'session_dependencies', 'reservations', 'kernel_reservations'];
    kept CONSTANT regclass[] := ARRAY['change_log', 'usage_log', 'owner_usage', 'change_floor', 'server_life'];
    names CONSTANT name[] := ARRAY[
        'log_insert', 'log_update', 'log_delete', 'log_truncate', 'log_former_key', 'log_usage_of_insert',
        'log_usage_of_update', 'log_usage_of_delete'];
    may_fold CONSTANT boolean := has_function_privilege(to_regprocedure('fold_usage(integer)'), 'EXECUTE');
BEGIN
    system_identifier := (SELECT c.system_identifier FROM pg_control_system() AS c);
    IF pg_is_in_recovery() OR EXISTS (SELECT FROM pg_subscription_rel WHERE srrelid = ANY (logged)) THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM change_floor WHERE cluster <> system_identifier) THEN
        is_log_long := may_fold;
        RETURN;
    END IF;
    log_oid := 'change_log'::regclass;
    schema_oid := (SELECT relnamespace FROM pg_class WHERE oid = log_oid);
    timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint;
    life := (SELECT l.life FROM server_life AS l);
    triggers := (
        SELECT CASE WHEN count(*) = 70 AND bool_and(t.tgenabled = 'A')
               THEN md5(string_agg(concat_ws(',', t.oid, t.xmin, p.oid, p.xmin), ';' ORDER BY t.oid)) END
        FROM pg_trigger AS t
        JOIN pg_proc AS p ON p.oid = t.tgfoid
        WHERE t.tgrelid = ANY (logged) AND t.tgname = ANY (names)
           OR t.tgrelid = ANY (kept) AND t.tgname IN ('refuse_change', 'drop_restored_row')
    );
    is_log_long := may_fold AND (
        SELECT EXISTS (SELECT FROM usage_log WHERE xid >= pg_snapshot_xmax(f.folded) OFFSET 500)
            OR (f.next_floor_at < statement_timestamp() - interval '6 minutes'
                AND pg_table_size('change_log') + pg_table_size('usage_log') > 4 * 2 ^ 20)
        FROM change_floor AS f
    );
END
$$;

-- The server's life, made anew where a crash took it away. Not in a transaction that reads only.
CREATE FUNCTION renew_server_life() RETURNS uuid
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    PERFORM set_config('scheduler_repo.keeps_changes', 'on', true);
    INSERT INTO server_life VALUES (gen_random_uuid()) ON CONFLICT DO NOTHING;
    PERFORM set_config('scheduler_repo.keeps_changes', '', true);
    RETURN (SELECT life FROM server_life);
END
$$;

-- -- what the scheduler may delete -------------------------------------------------------------------

-- It has no DELETE on sessions, history and operations: these functions run with their owner's rights, and delete no
-- more than the rules of a purge allow, whoever calls them with what. A time of less than an hour ago is an hour ago.

-- Sessions that finished before a time and on which no unfinished session depends, with all that belongs to them. A time
-- in sessions can be written by the scheduler, one in session_history cannot: a session with a younger change is kept.
-- The query is planned with its values: where very many depend on one session, the estimate for any other is so far off
-- that whole tables are read for each. The kernels are deleted at the end of the statement, and counted as it began.
CREATE FUNCTION purge_sessions(
        session_ids uuid[], older_than timestamptz, OUT sessions bigint, OUT kernels bigint)
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DECLARE
    bound CONSTANT timestamptz := least(older_than, statement_timestamp() - interval '1 hour');
    kept uuid[];
BEGIN
    -- The deletes that follow from foreign keys are planned once: anew for every session takes twice as long.
    PERFORM set_config('plan_cache_mode', 'auto', true);

    EXECUTE $query$
        WITH unfinished AS MATERIALIZED (
            SELECT id
            FROM sessions
            WHERE id = ANY (ARRAY(SELECT session_id FROM session_dependencies WHERE depends_on = ANY ($1)))
              AND status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')
        )
        SELECT coalesce(array_agg(DISTINCT depends_on), '{}')
        FROM session_dependencies
        WHERE session_id = ANY (ARRAY(SELECT id FROM unfinished)) AND depends_on = ANY ($1)
    $query$ INTO kept USING session_ids;
    kept := kept || ARRAY(
        SELECT h.session_id FROM session_history AS h
        WHERE h.session_id = ANY (session_ids) AND h.changed_at >= bound
    );

    WITH purged AS (
        DELETE FROM sessions AS s
        WHERE s.id = ANY (session_ids) AND s.id <> ALL (kept)
          AND s.status IN ('TERMINATED', 'CANCELLED', 'ERROR') AND s.status_changed_at < bound
        RETURNING s.id
    ), forgotten AS (
        DELETE FROM session_history AS h
        WHERE h.session_id = ANY (ARRAY(SELECT id FROM purged))
    )
    SELECT (SELECT count(*) FROM purged),
           (SELECT count(*) FROM kernels AS k WHERE k.session_id = ANY (ARRAY(SELECT id FROM purged)))
    INTO sessions, kernels;
END
$$;

-- The next rows of agents' history that are older than a time, the oldest first; the newest of each agent stays.
-- max() and not EXISTS: the index gives it at once, while one row that is newer may be looked for in the whole table.
-- What another transaction holds is left for another time.
CREATE FUNCTION purge_agent_history(
        older_than timestamptz, after_changed_at timestamptz, after_id bigint, batch_size integer,
        OUT seen bigint, OUT purged bigint, OUT last_changed_at timestamptz, OUT last_id bigint)
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
WITH seen AS MATERIALIZED (
    SELECT id, changed_at
    FROM agent_history
    WHERE changed_at < least(older_than, statement_timestamp() - interval '1 hour')
      AND (changed_at, id) > (coalesce(after_changed_at, '-infinity'), coalesce(after_id, 0))
    ORDER BY changed_at, id
    LIMIT batch_size
), locked AS MATERIALIZED (
    SELECT id
    FROM agent_history
    WHERE id = ANY (ARRAY(SELECT id FROM seen))
    ORDER BY id
    FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM agent_history AS h
    WHERE h.id = ANY (ARRAY(SELECT id FROM locked))
      AND h.id < (SELECT max(newest.id) FROM agent_history AS newest WHERE newest.agent_id = h.agent_id)
    RETURNING h.id
), last AS (
    SELECT changed_at, id FROM seen ORDER BY changed_at DESC, id DESC LIMIT 1
)
SELECT (SELECT count(*) FROM seen), (SELECT count(*) FROM purged),
       (SELECT changed_at FROM last), (SELECT id FROM last)
$$;

-- The next operations that are older than a time, the oldest first; what is locked is left for another time.
-- From after_created_at on: entries of the index before it belong to rows that are deleted, and would be read again.
CREATE FUNCTION purge_operations(
        older_than timestamptz, after_created_at timestamptz, batch_size integer,
        OUT purged bigint, OUT last_created_at timestamptz)
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
WITH locked AS MATERIALIZED (
    SELECT id
    FROM operations
    WHERE created_at < least(older_than, statement_timestamp() - interval '1 hour')
      AND created_at >= coalesce(after_created_at, '-infinity')
    ORDER BY created_at
    LIMIT batch_size
    FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM operations AS o
    WHERE o.id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING o.created_at
)
SELECT count(*), max(created_at) FROM purged
$$;

-- Sessions that this very transaction made, with their kernels. It changed those that have a history.
CREATE FUNCTION take_back_sessions(session_ids uuid[]) RETURNS void
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DELETE FROM sessions AS s
WHERE s.id = ANY (session_ids) AND s.xmin = pg_current_xact_id()::xid
  AND NOT EXISTS (SELECT FROM session_history AS h WHERE h.session_id = s.id)
$$;
