"""Limits of texts and arrays, and holes that are closed.

Functions find their tables whatever the caller's search_path; agents that close end reservations; history is
purged by functions of its owner's.

Revision ID: 0004
Revises: 0003
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0004"
down_revision: Final[Optional[str]] = "0003"
branch_labels: Final[None] = None
depends_on: Final[None] = None

# As schema.sql has it, to the blank.
_END_RESERVATIONS: Final = """
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
$$
"""

_HOLD_QUOTAS: Final = """
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
$$
"""
# The scheduler deletes by these alone; schema.sql says what each is for.
_PURGE_SESSIONS: Final = """
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
$$
"""
_PURGE_AGENT_HISTORY: Final = """
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
$$
"""
_PURGE_OPERATIONS: Final = """
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
$$
"""
_TAKE_BACK_SESSIONS: Final = """
CREATE FUNCTION take_back_sessions(session_ids uuid[]) RETURNS void
    LANGUAGE sql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
DELETE FROM sessions AS s
WHERE s.id = ANY (session_ids) AND s.xmin = pg_current_xact_id()::xid
  AND NOT EXISTS (SELECT FROM session_history AS h WHERE h.session_id = s.id)
$$
"""

# The longest that each column may be: the condition, and the columns of each table that keep it.
_LENGTHS: Final[tuple[tuple[str, dict[str, str]], ...]] = (
    (
        "octet_length({column}) <= 1024",
        {
            "slot_types": "name display_unit",
            "resource_policies": "name",
            "domains": "name",
            "projects": "name domain_name",
            "users": "name domain_name",
            "keypairs": "access_key",
            "quotas": "owner_id resource_policy",
            "vfolders": "name host",
            "scaling_groups": "name",
            "scaling_group_grants": "owner_id scaling_group",
            "agents": "id scaling_group address architecture",
            "agent_slots": "agent_id slot_name",
            "agent_heartbeats": "agent_id",
            "agent_history": "agent_id",
            "sessions": "name scaling_group access_key domain_name",
            "kernels": "scaling_group access_key domain_name image architecture agent_id",
            "session_vfolder_mounts": "mount_path",
            "reservations": "scaling_group",
            "kernel_reservations": "agent_id",
            "operations": "kind",
            "scheduler_leases": "scaling_group holder",
        },
    ),
    (
        "octet_length({column}) <= 131072",
        {
            "agent_history": "reason",
            "session_history": "reason",
        },
    ),
    (
        "cardinality({column}) <= 64",
        {
            "resource_policies": "slot_limits",
            "quotas": "slot_limits",
            "kernels": "requested_slots occupied_slots",
        },
    ),
    (
        "cardinality({column}) <= 4096 AND octet_length(array_to_string({column}, '')) <= 131072",
        {
            "sessions": "designated_agent_ids failed_agent_ids",
        },
    ),
    (
        "octet_length({column}) <= 64",
        {
            "operations": "request_digest",
        },
    ),
    (
        "octet_length({column}) <= 67108864",
        {
            "operations": "result",
        },
    ),
)


def _length_checks() -> dict[str, dict[str, str]]:
    """The condition of each constraint, by table and name."""
    checks: dict[str, dict[str, str]] = {}
    for condition, columns_of in _LENGTHS:
        for table, columns in columns_of.items():
            for column in columns.split():
                name = f"{table}_{column}_length_check"
                checks.setdefault(table, {})[name] = condition.format(column=column)
    return checks


def _limit_lengths(table: str, checks: dict[str, str]) -> str:
    """Add checks in one scan of the table; where a row breaks one, they hold for new rows alone."""
    added = [f"ADD CONSTRAINT {name} CHECK ({condition})" for name, condition in checks.items()]
    return f"""
    DO $$
    BEGIN
        ALTER TABLE {table} {", ".join(added)};
    EXCEPTION WHEN check_violation THEN
        RAISE NOTICE 'a row of {table} is longer than new ones may be: %', SQLERRM;
        ALTER TABLE {table} {", ".join(f"{each} NOT VALID" for each in added)};
    END
    $$
    """


def _lift_lengths(table: str, checks: dict[str, str]) -> str:
    return f"ALTER TABLE {table} {', '.join(f'DROP CONSTRAINT {name}' for name in checks)}"


# A row that is changed is checked anew, so what would stop a whole batch is shortened: what only people read,
# and lists of agents, to those that fit. An empty list would allow any agent.
_SHORTEN: Final = (
    "UPDATE sessions SET name = left(name, 256) WHERE octet_length(name) > 1024",
    "UPDATE kernels SET image = left(image, 256) WHERE octet_length(image) > 1024",
    """
    UPDATE sessions SET designated_agent_ids = coalesce(nullif(ARRAY(
        SELECT agent_id
        FROM (SELECT agent_id, place, sum(octet_length(agent_id)) OVER (ORDER BY place) AS bytes
              FROM unnest(designated_agent_ids) WITH ORDINALITY AS each_one (agent_id, place)) AS listed
        WHERE place <= 4096 AND bytes <= 131072), '{}'), ARRAY['(no agent has so long an id)'])
    WHERE cardinality(designated_agent_ids) > 4096
       OR octet_length(array_to_string(designated_agent_ids, '')) > 131072
    """,
    """
    UPDATE sessions SET failed_agent_ids = '{}'
    WHERE cardinality(failed_agent_ids) > 4096 OR octet_length(array_to_string(failed_agent_ids, '')) > 131072
    """,
)

# One statement each: the driver prepares what it is given.
_UPGRADE: Final = (
    # pg_dump restores with an empty search_path. The upgrade's own names the schema and then pg_temp.
    "ALTER FUNCTION session_dependencies_mark_sessions() SET search_path FROM CURRENT",
    # An agent that takes kernels of the group no more serves no reservation, whoever changed it.
    _END_RESERVATIONS,
    """
    CREATE TRIGGER agents_end_reservations
        AFTER UPDATE OF scaling_group, status, is_schedulable ON agents
        FOR EACH STATEMENT EXECUTE FUNCTION agents_end_reservations()
    """,
    # Those that were closed before there was the trigger.
    """
    DELETE FROM reservations AS r
    USING kernel_reservations AS h, agents AS a
    WHERE h.session_id = r.session_id AND a.id = h.agent_id
      AND (a.status <> 'ALIVE' OR NOT a.is_schedulable OR a.scaling_group <> r.scaling_group)
    """,
    # What writers wait on takes a privilege.
    "CREATE VIEW quota_additions AS SELECT",
    _HOLD_QUOTAS,
    # Times of history are the server's, and its rows go by functions of its owner's alone.
    "ALTER TABLE session_history ALTER COLUMN changed_at SET DEFAULT statement_timestamp()",
    "ALTER TABLE agent_history ALTER COLUMN changed_at SET DEFAULT statement_timestamp()",
    _PURGE_SESSIONS,
    _PURGE_AGENT_HISTORY,
    _PURGE_OPERATIONS,
    _TAKE_BACK_SESSIONS,
    # Every text and array has a longest length.
    *_SHORTEN,
    *(_limit_lengths(table, checks) for table, checks in _length_checks().items()),
)

_DOWNGRADE: Final = (
    *(_lift_lengths(table, checks) for table, checks in _length_checks().items()),
    "DROP FUNCTION hold_quotas",
    "DROP VIEW quota_additions",
    "DROP FUNCTION take_back_sessions",
    "DROP FUNCTION purge_operations",
    "DROP FUNCTION purge_agent_history",
    "DROP FUNCTION purge_sessions",
    "ALTER TABLE agent_history ALTER COLUMN changed_at SET DEFAULT now()",
    "ALTER TABLE session_history ALTER COLUMN changed_at SET DEFAULT now()",
    "DROP TRIGGER agents_end_reservations ON agents",
    "DROP FUNCTION agents_end_reservations()",
    "ALTER FUNCTION session_dependencies_mark_sessions() RESET search_path",
)


def upgrade() -> None:
    """Change the functions and tables.

    Reservations go that no agent can serve any more, and what is far too long in a session is cut.
    """
    for statement in _UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Undo the upgrade; all rows stay as they are."""
    for statement in _DOWNGRADE:
        op.execute(statement)
