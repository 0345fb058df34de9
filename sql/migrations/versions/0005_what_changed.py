"""What changed, and what each owner occupies: two logs that triggers write, and sums kept by one of them.

It is safe beside writers. It waits until what they have changed in the tables that are logged is committed,
and holds none of them while it waits for another: a fifth of a second at a time, half a minute in all, then it
gives up. From then to its end it holds SHARE ROW EXCLUSIVE on them: reads and row locks go on; INSERT, UPDATE
and DELETE wait. That is some 0.1 s, and 16 ms for each 1,000 kernels that occupy agents, which are counted.

Revision ID: 0005
Revises: 0004
"""

from typing import Final, Optional

from alembic import op

revision: Final[str] = "0005"
down_revision: Final[Optional[str]] = "0004"
branch_labels: Final[None] = None
depends_on: Final[None] = None

_LOGGED: Final = (
    "slot_types, resource_policies, quotas, scaling_groups, agents, agent_slots, sessions, kernels, "
    "session_dependencies, reservations, kernel_reservations"
)
# Each writer locks tables in an order of its own: who waits for one and holds another may be in a deadlock with
# it. A wait is far shorter than deadlock_timeout, so no writer is ended for it.
_LOCK: Final = f"""
DO $lock$
DECLARE
    give_up_at CONSTANT timestamptz := clock_timestamp() + interval '30 seconds';
    lock_timeout_before CONSTANT text := current_setting('lock_timeout');
BEGIN
    PERFORM set_config('lock_timeout', '200ms', true);
    LOOP
        BEGIN
            LOCK TABLE {_LOGGED} IN SHARE ROW EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            IF clock_timestamp() > give_up_at THEN
                RAISE;
            END IF;
            PERFORM pg_sleep(0.05 + 0.1 * random());
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', lock_timeout_before, true);
END
$lock$
"""

# As schema.sql has it, to the blank; it says what each is for. One statement each: the driver prepares them.
_TABLES: Final = (
    """
CREATE TABLE change_log (
    xid      xid8 NOT NULL DEFAULT pg_current_xact_id(),
    kind     "char" NOT NULL,
    sessions uuid[],
    names    text[] COLLATE "C"
)
""",
    "ALTER TABLE change_log ALTER sessions SET STORAGE EXTERNAL, ALTER names SET STORAGE EXTERNAL",
    "CREATE INDEX change_log_xid_idx ON change_log (xid)",
    "ALTER TABLE change_log REPLICA IDENTITY FULL",
    """
CREATE TABLE usage_log (
    xid           xid8 NOT NULL DEFAULT pg_current_xact_id(),
    access_key    text COLLATE "C" NOT NULL,
    user_id       uuid NOT NULL,
    project_id    uuid NOT NULL,
    domain_name   text COLLATE "C" NOT NULL,
    session_count bigint NOT NULL,
    slots         numeric[] NOT NULL
)
""",
    "CREATE INDEX usage_log_xid_idx ON usage_log (xid)",
    "ALTER TABLE usage_log REPLICA IDENTITY FULL",
    """
CREATE TABLE owner_usage (
    scope         text COLLATE "C" NOT NULL,
    owner_id      text COLLATE "C" NOT NULL,        -- access key, user id, project id or domain name
    session_count bigint NOT NULL,
    slots         numeric[] NOT NULL,
    CONSTRAINT owner_usage_pkey PRIMARY KEY (scope, owner_id)
) WITH (fillfactor = 70)
""",
    """
CREATE TABLE change_floor (
    floor         pg_snapshot NOT NULL,
    folded        pg_snapshot NOT NULL,
    next_floor    pg_snapshot NOT NULL,             -- what floor is raised to
    next_floor_at timestamptz NOT NULL,             -- when it was now
    folded_at     timestamptz NOT NULL,             -- when folded was raised
    cluster       bigint NOT NULL,                  -- the system identifier: whose transaction ids these are
    id            integer NOT NULL DEFAULT 1,
    CONSTRAINT change_floor_pkey PRIMARY KEY (id)
) WITH (fillfactor = 50)
""",
    "CREATE UNIQUE INDEX change_floor_only_row ON change_floor ((true))",
    """
CREATE UNLOGGED TABLE server_life (
    life uuid NOT NULL
)
""",
    "CREATE UNIQUE INDEX server_life_only_row ON server_life ((true))",
)
_VIEWS: Final = (
    """
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
GROUP BY access_key, user_id, project_id, domain_name
""",
    """
CREATE FUNCTION refuse_restored_usage() RETURNS xid8
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    RAISE EXCEPTION 'what owners occupy was restored in part or from another cluster, and is not counted yet'
        USING ERRCODE = 'object_not_in_prerequisite_state',
              HINT = 'run scheduler-repo db upgrade, or SELECT rebuild_usage()';
END
$$
""",
    """
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
WHERE u.xid = ANY (ARRAY(SELECT pg_snapshot_xip(folded) FROM change_floor))
""",
    """
CREATE VIEW usage_parts AS
SELECT scope, owner_id, session_count, slots
FROM owner_usage
UNION ALL
SELECT o.scope, o.owner_id, u.session_count, u.slots
FROM unfolded_usage AS u
CROSS JOIN LATERAL (VALUES
    ('ACCESS_KEY' COLLATE "C", u.access_key COLLATE "C"), ('USER', u.user_id::text),
    ('PROJECT', u.project_id::text), ('DOMAIN', u.domain_name)
) AS o (scope, owner_id)
""",
)
_LOGGING: Final = (
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
CREATE FUNCTION log_slot_types() RETURNS trigger
    LANGUAGE plpgsql
    SECURITY DEFINER
    SET search_path FROM CURRENT
    AS $$
BEGIN
    INSERT INTO change_log (kind) SELECT '*' WHERE EXISTS (SELECT FROM changed_rows);
    RETURN NULL;
END
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
)
_TRIGGERS: Final = """
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
$triggers$
"""
_KEEPING: Final = (
    """
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
$$
""",
    """
CREATE FUNCTION drop_restored_row() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path FROM CURRENT
    AS $$
BEGIN
    RETURN NULL;
END
$$
""",
    """
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
$triggers$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
    """
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
$$
""",
)
_DROP_TRIGGERS: Final = """
DO $triggers$
DECLARE
    logging record;
BEGIN
    FOR logging IN
        SELECT tgrelid::regclass AS logged, tgname AS name
        FROM pg_trigger
        WHERE tgfoid = ANY (ARRAY[
            'log_sessions', 'log_parts_of_sessions', 'log_reservations', 'log_agents', 'log_agent_slots',
            'log_scaling_groups', 'log_quotas', 'log_resource_policies', 'log_slot_types', 'log_former_key',
            'log_session_usage', 'log_kernel_usage', 'log_truncate']::regproc[]::oid[])
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', logging.name, logging.logged);
    END LOOP;
END
$triggers$
"""
_DROPPED: Final = (
    "VIEW usage_parts, unfolded_usage, counted_usage",
    "TABLE change_log, usage_log, owner_usage, change_floor, server_life",
    "FUNCTION log_sessions, log_parts_of_sessions, log_reservations, log_agents, log_agent_slots",
    "FUNCTION log_scaling_groups, log_quotas, log_resource_policies, log_slot_types, log_former_key",
    "FUNCTION log_session_usage, log_kernel_usage, log_truncate, refuse_change, drop_restored_row",
    "FUNCTION refuse_restored_usage, snapshot_without_own, is_usage_restored",
    "FUNCTION rebuild_usage, fold_usage, trim_changes, renew_server_life, change_history",
)


def upgrade() -> None:
    """Make the logs, then hold writers up while triggers are added and what runs is counted, in this order."""
    for statement in (*_TABLES, *_VIEWS, *_LOGGING, *_KEEPING, _LOCK, _TRIGGERS):
        op.execute(statement)
    # A later statement than the triggers: it sees all that was written without them.
    op.execute("SELECT rebuild_usage()")
    op.execute("SELECT renew_server_life()")


def downgrade() -> None:
    """Undo the upgrade; all rows stay as they are."""
    op.execute(_DROP_TRIGGERS)
    for dropped in _DROPPED:
        op.execute(f"DROP {dropped}")
