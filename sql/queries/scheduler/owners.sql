-- What the named owners occupy in all groups, and may occupy: one row for each, in the order of the parameters.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: owner_usage_pkey, usage_log_xid_idx (what is not folded yet), quotas_pkey, resource_policies_pkey: nothing that
-- runs is looked at.
-- One statement, so that what is folded meanwhile counts once. Only owners with news have arrays to be added up. Arrays are
-- answered as text: sums may be above 63 bits, limits repeat, and the driver reads text faster.
WITH named AS MATERIALIZED (
    SELECT 1 AS part, place, 'ACCESS_KEY' COLLATE "C" AS scope, id COLLATE "C" AS owner_id
    FROM unnest($1::text[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT 2, place, 'USER', id::text FROM unnest($2::uuid[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT 3, place, 'PROJECT', id::text FROM unnest($3::uuid[]) WITH ORDINALITY AS given (id, place)
    UNION ALL
    SELECT 4, place, 'DOMAIN', id FROM unnest($4::text[]) WITH ORDINALITY AS given (id, place)
), parts AS MATERIALIZED (
    SELECT u.scope, u.owner_id, u.session_count, u.slots
    FROM named AS n
    JOIN usage_parts AS u ON u.scope = n.scope AND u.owner_id = n.owner_id
), owners AS MATERIALIZED (
    SELECT scope, owner_id, sum(session_count)::bigint AS session_count, min(slots) AS slots, count(*) > 1 AS has_news
    FROM parts
    GROUP BY scope, owner_id
), sums AS (
    SELECT scope, owner_id, array_agg(amount ORDER BY position) AS slots
    FROM (
        SELECT p.scope, p.owner_id, s.position, sum(s.amount) AS amount
        FROM parts AS p
        CROSS JOIN LATERAL unnest(p.slots) WITH ORDINALITY AS s (amount, position)
        WHERE (p.scope, p.owner_id) IN (SELECT scope, owner_id FROM owners WHERE has_news)
        GROUP BY p.scope, p.owner_id, s.position
    ) AS amounts
    GROUP BY scope, owner_id
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
LEFT JOIN owners AS o ON o.scope = n.scope AND o.owner_id = n.owner_id
LEFT JOIN sums AS s ON s.scope = n.scope AND s.owner_id = n.owner_id
LEFT JOIN quotas AS q ON q.scope = n.scope AND q.owner_id = n.owner_id
LEFT JOIN resource_policies AS p ON p.name = q.resource_policy
ORDER BY n.part, n.place
