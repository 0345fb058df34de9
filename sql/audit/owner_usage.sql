-- Owners of the four scopes whose usage, which reads and quotas go by, is not what occupies agents: it is added up from what
-- triggers log, and a trigger may have been disabled. SELECT rebuild_usage() mends it.
-- Parameters: none. Index: usage_log_xid_idx, kernels_occupying_idx, sessions_occupying_idx (nothing finished is in them).
WITH parts AS MATERIALIZED (
    SELECT scope, owner_id, session_count, slots, false AS is_counted
    FROM usage_parts
    UNION ALL
    SELECT o.scope, o.owner_id, c.session_count, c.slots, true
    FROM counted_usage AS c
    CROSS JOIN LATERAL (VALUES
        ('ACCESS_KEY' COLLATE "C", c.access_key COLLATE "C"), ('USER', c.user_id::text),
        ('PROJECT', c.project_id::text), ('DOMAIN', c.domain_name)
    ) AS o (scope, owner_id)
), amounts AS (
    SELECT scope, owner_id, 0 AS position, session_count AS amount, is_counted
    FROM parts
    UNION ALL
    SELECT p.scope, p.owner_id, s.position, s.amount, p.is_counted
    FROM parts AS p
    CROSS JOIN LATERAL unnest(p.slots) WITH ORDINALITY AS s (amount, position)
), sums AS (
    SELECT scope, owner_id, position,
           coalesce(sum(amount) FILTER (WHERE is_counted), 0)       AS expected,
           coalesce(sum(amount) FILTER (WHERE NOT is_counted), 0)   AS found
    FROM amounts
    GROUP BY scope, owner_id, position
)
SELECT CASE s.scope WHEN 'ACCESS_KEY' THEN 'access key' ELSE lower(s.scope) END     AS entity,
       s.owner_id                                                                   AS entity_id,
       CASE s.position WHEN 0 THEN 'session_count of its usage'
            ELSE 'usage of ' || coalesce(t.name, 'slot index ' || s.position - 1) END   AS what,
       s.expected::text                                                             AS expected,
       s.found::text                                                                AS found
FROM sums AS s
LEFT JOIN slot_types AS t ON t.slot_index = s.position - 1
WHERE s.expected <> s.found
ORDER BY entity, entity_id, s.position
