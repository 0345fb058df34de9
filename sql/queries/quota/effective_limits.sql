-- What one owner may occupy at the most: the least of its policy's limits and its own, NULL where neither limits.
-- Parameters: $1 scope, $2 owner id. Index: quotas_pkey, resource_policies_pkey.
-- Always one row, with a limit or NULL for every slot; without a quota all is NULL.
SELECT q.resource_policy,
       ARRAY(
           SELECT least(p.slot_limits[place], q.slot_limits[place])
           FROM generate_series(1, (SELECT max(slot_index) + 1 FROM slot_types)) AS place
           ORDER BY place
       )                                                            AS slot_limits,
       least(p.max_concurrent_sessions, q.max_concurrent_sessions)  AS max_concurrent_sessions,
       p.max_kernels_per_session
FROM (SELECT) AS always
LEFT JOIN quotas AS q ON q.scope = $1 AND q.owner_id = $2
LEFT JOIN resource_policies AS p ON p.name = q.resource_policy
