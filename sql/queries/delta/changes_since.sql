-- What the change log says since a snapshot, beside the instant that is read now and the group's options: one row at the
-- least, whose columns of news are NULL when there are none.
-- Parameters: $1 the snapshot of the read before, $2 scaling group, $3 how many news at the most, and 200 bytes of ids for
-- each: where there are more, one row of kind # stands for all.
-- Index: change_log_xid_idx, usage_log_xid_idx, scaling_groups_pkey.
-- The first statement of a refresh: it takes the snapshot that all later ones share. The columns before is_kept are those
-- of snapshot.sql. What was in progress then and has ended since may have any number below its xmax: hence the second
-- half of each log. is_kept is false where what the snapshot has not seen may have been trimmed.
WITH news AS MATERIALIZED (
    SELECT kind, sessions, names, NULL::uuid[] AS owner_ids, NULL::bigint AS session_count, NULL::text[] AS slots
    FROM change_log
    WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
    UNION ALL
    SELECT kind, sessions, names, NULL, NULL, NULL
    FROM change_log
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
    UNION ALL
    SELECT 'u'::"char", NULL, ARRAY[access_key, domain_name], ARRAY[user_id, project_id], session_count, slots::text[]
    FROM usage_log
    WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
    UNION ALL
    SELECT 'u'::"char", NULL, ARRAY[access_key, domain_name], ARRAY[user_id, project_id], session_count, slots::text[]
    FROM usage_log
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
    LIMIT $3
), size AS (
    -- As they are stored: nothing is fetched for it.
    SELECT coalesce(sum(pg_column_size(sessions)), 0) + coalesce(sum(pg_column_size(names)), 0) > 200 * $3::bigint AS is_too_much
    FROM news
)
SELECT statement_timestamp()                                                AS observed_at,
       pg_current_snapshot()::text                                          AS snapshot,
       (SELECT system_identifier FROM pg_control_system())                  AS system_identifier,
       (SELECT oid FROM pg_database WHERE datname = current_database())     AS database_oid,
       to_regclass('sessions')::oid                                         AS table_oid,
       pg_postmaster_start_time()                                           AS started_at,
       history.*,
       (SELECT pg_snapshot_xmax(floor) <= pg_snapshot_xmax($1::text::pg_snapshot)
               AND NOT EXISTS (
                   SELECT FROM pg_snapshot_xip($1::text::pg_snapshot) AS xid WHERE pg_visible_in_snapshot(xid, floor))
        FROM change_floor)                                                  AS is_kept,
       g.name AS scaling_group, g.is_active, g.pending_timeout, g.preemption_scope, g.preemption_min_runtime,
       coalesce(news.kind, (SELECT '#'::"char" FROM size WHERE is_too_much))  AS kind,
       news.sessions, news.names, news.owner_ids, news.session_count, news.slots
FROM change_history() AS history
LEFT JOIN scaling_groups AS g ON g.name = $2
LEFT JOIN news ON NOT (SELECT is_too_much FROM size)
