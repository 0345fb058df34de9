-- What the named owners occupy in all groups, and may occupy: one row for each, in the order of the parameters.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: owner_usage_pkey, usage_log_xid_idx (what is not folded yet), quotas_pkey, resource_policies_pkey: nothing that
-- runs is looked at.
-- The parts of usage_parts, each joined by itself: together, many rows of the log had all owners read for one.
-- One statement, so that what is folded meanwhile counts once. Only owners with news have arrays to be added up. Arrays are
-- answered as text: sums may be above 63 bits, limits repeat, and the driver reads text faster.
WITH named AS MATERIALIZED (
    SELECT place, 'ACCESS_KEY' COLLATE "C" AS scope, id COLLATE "C" AS owner_id
    FROM unnest($1::text[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT place + (1::bigint << 32), 'USER', id::text FROM unnest($2::uuid[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT place + (2::bigint << 32), 'PROJECT', id::text FROM unnest($3::uuid[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT place + (3::bigint << 32), 'DOMAIN', id FROM unnest($4::text[]) WITH ORDINALITY AS given (id, place)
), parts AS MATERIALIZED (
    SELECT n.place, u.session_count, u.slots
    FROM named AS n
    JOIN owner_usage AS u ON u.scope = n.scope AND u.owner_id = n.owner_id
    UNION ALL
    SELECT n.place, u.session_count, u.slots
    FROM named AS n
    JOIN (
        SELECT o.scope, o.owner_id, u.session_count, u.slots
        FROM unfolded_usage AS u
        CROSS JOIN LATERAL (VALUES
            ('ACCESS_KEY' COLLATE "C", u.access_key COLLATE "C"), ('USER', u.user_id::text),
            ('PROJECT', u.project_id::text), ('DOMAIN', u.domain_name)
        ) AS o (scope, owner_id)
        OFFSET 0
    ) AS u ON u.scope = n.scope AND u.owner_id = n.owner_id
), owners AS MATERIALIZED (
    SELECT place, sum(session_count)::bigint AS session_count, min(slots) AS slots, count(*) > 1 AS has_news
    FROM parts
    GROUP BY place
), sums AS (
    SELECT place, array_agg(amount ORDER BY position) AS slots
    FROM (
        SELECT p.place, s.position, sum(s.amount) AS amount
        FROM parts AS p
        CROSS JOIN LATERAL unnest(p.slots) WITH ORDINALITY AS s (amount, position)
        WHERE p.place IN (SELECT place FROM owners WHERE has_news)
        GROUP BY p.place, s.position
    ) AS amounts
    GROUP BY place
)
SELECT coalesce(o.session_count, 0)                 AS session_count,
       coalesce(s.slots, o.slots, '{}')::text       AS occupied,
       q.scope IS NOT NULL                          AS has_quota,
       q.resource_policy,
       coalesce(p.slot_limits, '{}')::text          AS policy_slot_limits,
       p.max_concurrent_sessions                    AS policy_max_concurrent_sessions,
       p.max_kernels_per_session                    AS policy_max_kernels_per_session,
       coalesce(q.slot_limits, '{}')::text          AS own_slot_limits,
       q.max_concurrent_sessions                    AS own_max_concurrent_sessions
FROM named AS n
LEFT JOIN owners AS o ON o.place = n.place
LEFT JOIN sums AS s ON s.place = n.place
LEFT JOIN quotas AS q ON q.scope = n.scope AND q.owner_id = n.owner_id
LEFT JOIN resource_policies AS p ON p.name = q.resource_policy
ORDER BY n.place
