-- What the named owners occupy in all groups, per slot; each row has one owner column set, the others are NULL.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: kernels_occupying_idx (no finished kernel is in it).
-- Kernels that are alike are counted first, so that few arrays are taken apart.
WITH alike AS (
    SELECT access_key, user_id, project_id, domain_name, occupied_slots, count(*) AS kernels
    FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY access_key, user_id, project_id, domain_name, occupied_slots
)
SELECT access_key, user_id, project_id, domain_name,
       (o.position - 1)::int AS slot_index, sum(o.amount * kernels)::bigint AS occupied
FROM alike
CROSS JOIN LATERAL unnest(occupied_slots) WITH ORDINALITY AS o (amount, position)
WHERE o.amount > 0
GROUP BY GROUPING SETS ((access_key, o.position), (user_id, o.position),
                        (project_id, o.position), (domain_name, o.position))
HAVING access_key = ANY ($1::text[]) OR user_id = ANY ($2::uuid[])
    OR project_id = ANY ($3::uuid[]) OR domain_name = ANY ($4::text[])
