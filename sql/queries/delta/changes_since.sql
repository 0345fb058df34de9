-- What the change log says since a snapshot, beside the instant that is read now and the group's options: one row, whose
-- columns of news are NULL where there are none.
-- Parameters: $1 the snapshot of the read before, $2 scaling group, $3 how many news at the most, and 200 bytes of ids for
-- each: where there are more, the one kind # stands for all.
-- Index: change_log_xid_idx, usage_log_xid_idx, scaling_groups_pkey.
-- The first statement of a refresh: it takes the snapshot that all later ones share. What was in progress then and has
-- ended since may have any number below its xmax: hence the second half of each log. is_kept is false where what the
-- snapshot has not seen may have been trimmed. Ids come as often as the log has them; the arrays of usage stand side by
-- side, an element for each row of its log.
WITH news AS MATERIALIZED (
    SELECT kind, sessions, names, NULL::text AS access_key, NULL::uuid AS user_id, NULL::uuid AS project_id,
           NULL::text AS domain_name, NULL::bigint AS session_count, NULL::text AS slots
    FROM change_log
    WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
    UNION ALL
    SELECT kind, sessions, names, NULL, NULL, NULL, NULL, NULL, NULL
    FROM change_log
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
    UNION ALL
    SELECT 'u'::"char", NULL, NULL, access_key, user_id, project_id, domain_name, session_count, slots::text
    FROM usage_log
    WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
    UNION ALL
    SELECT 'u'::"char", NULL, NULL, access_key, user_id, project_id, domain_name, session_count, slots::text
    FROM usage_log
    WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1::text::pg_snapshot)))
    LIMIT $3
), size AS (
    -- As they are stored: nothing is fetched for it.
    SELECT count(*) >= $3 OR
           coalesce(sum(pg_column_size(sessions)), 0) + coalesce(sum(pg_column_size(names)), 0) > 200 * $3::bigint AS is_too_much
    FROM news
), told AS MATERIALIZED (
    SELECT * FROM news WHERE NOT (SELECT is_too_much FROM size)
)
SELECT statement_timestamp()                                                AS observed_at,
       pg_current_snapshot()::text                                          AS snapshot,
       history.system_identifier,
       (SELECT oid FROM pg_database WHERE datname = current_database())     AS database_oid,
       to_regclass('sessions')::oid                                         AS table_oid,
       pg_postmaster_start_time()                                           AS started_at,
       history.schema_oid, history.log_oid, history.timeline, history.life, history.triggers, history.is_log_long,
       g.name, g.is_active, g.pending_timeout, g.preemption_scope, g.preemption_min_runtime,
       (SELECT pg_snapshot_xmax(floor) <= pg_snapshot_xmax($1::text::pg_snapshot)
               AND NOT EXISTS (
                   SELECT FROM pg_snapshot_xip($1::text::pg_snapshot) AS xid WHERE pg_visible_in_snapshot(xid, floor))
        FROM change_floor)                                                  AS is_kept,
       CASE WHEN (SELECT is_too_much FROM size) THEN '{#}'::"char"[]
            ELSE (SELECT array_agg(DISTINCT kind) FROM told) END            AS kinds,
       (SELECT array_agg(id) FROM told CROSS JOIN unnest(sessions) AS id)   AS sessions,
       (SELECT array_agg(name) FROM told CROSS JOIN unnest(names) AS name WHERE kind = 'a')  AS agents,
       (SELECT array_agg(name) FROM told CROSS JOIN unnest(names) AS name WHERE kind = 'q')  AS quotas,
       usage.*
FROM change_history() AS history
LEFT JOIN scaling_groups AS g ON g.name = $2
CROSS JOIN (
    SELECT array_agg(access_key) AS access_keys, array_agg(user_id) AS users, array_agg(project_id) AS projects,
           array_agg(domain_name) AS domains, array_agg(session_count) AS session_counts, array_agg(slots) AS slots
    FROM told
    WHERE kind = 'u'
) AS usage
