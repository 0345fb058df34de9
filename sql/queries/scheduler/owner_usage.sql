-- What the named owners occupy in all groups, and how many of their sessions do; each row has one owner column set, the
-- others are NULL. An owner without a row occupies nothing.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: owner_usage_pkey, usage_log_xid_idx (what is not folded yet): nothing that runs is looked at.
-- One statement, so that what is folded meanwhile counts once. Only owners with news have arrays to be added up. Sums are
-- answered as text: they may be above 63 bits, and the driver reads text faster than numeric.
WITH parts AS MATERIALIZED (
    SELECT scope, owner_id, session_count, slots
    FROM usage_parts
    WHERE (scope = 'ACCESS_KEY' AND owner_id = ANY ($1::text[]))
       OR (scope = 'USER' AND owner_id = ANY ($2::uuid[]::text[]))
       OR (scope = 'PROJECT' AND owner_id = ANY ($3::uuid[]::text[]))
       OR (scope = 'DOMAIN' AND owner_id = ANY ($4::text[]))
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
SELECT CASE o.scope WHEN 'ACCESS_KEY' THEN o.owner_id END          AS access_key,
       CASE o.scope WHEN 'USER' THEN o.owner_id::uuid END          AS user_id,
       CASE o.scope WHEN 'PROJECT' THEN o.owner_id::uuid END       AS project_id,
       CASE o.scope WHEN 'DOMAIN' THEN o.owner_id END              AS domain_name,
       o.session_count,
       coalesce(s.slots, o.slots)::text[]                          AS occupied
FROM owners AS o
LEFT JOIN sums AS s ON s.scope = o.scope AND s.owner_id = o.owner_id
