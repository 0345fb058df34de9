-- What the named owners occupy in all groups, and their limits: their policy's and their own.
-- Parameters: $1 the scope of each, $2 the id of each.
-- Index: owner_usage_pkey, usage_log_xid_idx (the few rows that are not folded), quotas_pkey, resource_policies_pkey.
-- The parts of usage_parts, each joined by itself: together, many rows of the log had all owners read for one.
-- Sums are answered as text: they may be above 63 bits, and the driver reads text faster than numeric.
WITH named AS MATERIALIZED (
    SELECT DISTINCT scope, owner_id
    FROM unnest($1::text[], $2::text[]) AS given (scope, owner_id)
), parts AS MATERIALIZED (
    SELECT u.scope, u.owner_id, u.session_count, u.slots
    FROM named AS n
    JOIN owner_usage AS u ON u.scope = n.scope COLLATE "C" AND u.owner_id = n.owner_id COLLATE "C"
    UNION ALL
    SELECT u.scope, u.owner_id, u.session_count, u.slots
    FROM named AS n
    JOIN (
        SELECT o.scope, o.owner_id, u.session_count, u.slots
        FROM unfolded_usage AS u
        CROSS JOIN LATERAL (VALUES
            ('ACCESS_KEY' COLLATE "C", u.access_key COLLATE "C"), ('USER', u.user_id::text),
            ('PROJECT', u.project_id::text), ('DOMAIN', u.domain_name)
        ) AS o (scope, owner_id)
        OFFSET 0
    ) AS u ON u.scope = n.scope COLLATE "C" AND u.owner_id = n.owner_id COLLATE "C"
), counts AS (
    SELECT scope, owner_id, sum(session_count)::bigint AS session_count FROM parts GROUP BY scope, owner_id
), sums AS (
    SELECT scope, owner_id, array_agg(amount::text ORDER BY position) AS occupied
    FROM (
        SELECT p.scope, p.owner_id, s.position, sum(s.amount) AS amount
        FROM parts AS p
        CROSS JOIN LATERAL unnest(p.slots) WITH ORDINALITY AS s (amount, position)
        GROUP BY p.scope, p.owner_id, s.position
    ) AS amounts
    GROUP BY scope, owner_id
)
SELECT n.scope, n.owner_id, coalesce(c.session_count, 0) AS session_count, coalesce(s.occupied, '{}') AS occupied,
       q.resource_policy,
       p.slot_limits AS policy_slot_limits, p.max_concurrent_sessions AS policy_max_concurrent_sessions,
       p.max_kernels_per_session AS policy_max_kernels_per_session,
       q.slot_limits AS own_slot_limits, q.max_concurrent_sessions AS own_max_concurrent_sessions
FROM named AS n
LEFT JOIN counts AS c ON c.scope = n.scope COLLATE "C" AND c.owner_id = n.owner_id COLLATE "C"
LEFT JOIN sums AS s ON s.scope = n.scope COLLATE "C" AND s.owner_id = n.owner_id COLLATE "C"
LEFT JOIN quotas AS q ON q.scope = n.scope COLLATE "C" AND q.owner_id = n.owner_id COLLATE "C"
LEFT JOIN resource_policies AS p ON p.name = q.resource_policy
