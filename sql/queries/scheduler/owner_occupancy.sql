-- What the named owners occupy in all groups; each row has one owner column set, the others are NULL, and the
-- amounts of the slots from first_slot_index on.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: kernels_occupying_idx (no finished kernel is in it).
-- The first eight slots are summed as columns, once per combination of owners and then per owner; taking every
-- array apart costs twice the time. The second half takes apart what few arrays are longer.
WITH combined AS (
    SELECT access_key, user_id, project_id, domain_name,
           sum(occupied_slots[1])::bigint AS s1, sum(occupied_slots[2])::bigint AS s2,
           sum(occupied_slots[3])::bigint AS s3, sum(occupied_slots[4])::bigint AS s4,
           sum(occupied_slots[5])::bigint AS s5, sum(occupied_slots[6])::bigint AS s6,
           sum(occupied_slots[7])::bigint AS s7, sum(occupied_slots[8])::bigint AS s8
    FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY access_key, user_id, project_id, domain_name
)
SELECT access_key, user_id, project_id, domain_name, 0 AS first_slot_index,
       ARRAY[coalesce(sum(s1)::bigint, 0), coalesce(sum(s2)::bigint, 0), coalesce(sum(s3)::bigint, 0), coalesce(sum(s4)::bigint, 0),
             coalesce(sum(s5)::bigint, 0), coalesce(sum(s6)::bigint, 0), coalesce(sum(s7)::bigint, 0), coalesce(sum(s8)::bigint, 0)] AS occupied
FROM combined
GROUP BY GROUPING SETS ((access_key), (user_id), (project_id), (domain_name))
HAVING access_key IN (SELECT unnest($1::text[])) OR user_id IN (SELECT unnest($2::uuid[]))
    OR project_id IN (SELECT unnest($3::uuid[])) OR domain_name IN (SELECT unnest($4::text[]))
UNION ALL
SELECT access_key, user_id, project_id, domain_name, (o.position + 7)::int AS first_slot_index,
       ARRAY[sum(o.amount)::bigint] AS occupied
FROM kernels
CROSS JOIN LATERAL unnest(occupied_slots[9:]) WITH ORDINALITY AS o (amount, position)
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND cardinality(occupied_slots) > 8
GROUP BY GROUPING SETS ((access_key, o.position), (user_id, o.position),
                        (project_id, o.position), (domain_name, o.position))
HAVING access_key IN (SELECT unnest($1::text[])) OR user_id IN (SELECT unnest($2::uuid[]))
    OR project_id IN (SELECT unnest($3::uuid[])) OR domain_name IN (SELECT unnest($4::text[]))
