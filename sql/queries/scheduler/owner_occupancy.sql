-- What the named owners occupy in all groups; each row has one owner column set, the others are NULL, and the
-- amounts of the slots from first_slot_index on.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: kernels_occupying_idx (no finished kernel is in it).
-- The first eight slots are summed as columns, once per combination of owners and then per owner; taking every
-- array apart costs twice the time. The second half takes apart what few arrays are longer.
-- Sums are numeric and answered as text: they may be above 63 bits, and the driver reads text faster than numeric.
WITH combined AS (
    SELECT access_key, user_id, project_id, domain_name,
           sum(occupied_slots[1]) AS s1, sum(occupied_slots[2]) AS s2, sum(occupied_slots[3]) AS s3,
           sum(occupied_slots[4]) AS s4, sum(occupied_slots[5]) AS s5, sum(occupied_slots[6]) AS s6,
           sum(occupied_slots[7]) AS s7, sum(occupied_slots[8]) AS s8
    FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY access_key, user_id, project_id, domain_name
)
SELECT access_key, user_id, project_id, domain_name, 0 AS first_slot_index,
       ARRAY[coalesce(sum(s1), 0), coalesce(sum(s2), 0), coalesce(sum(s3), 0), coalesce(sum(s4), 0),
             coalesce(sum(s5), 0), coalesce(sum(s6), 0), coalesce(sum(s7), 0), coalesce(sum(s8), 0)]::text[] AS occupied
FROM combined
GROUP BY GROUPING SETS ((access_key), (user_id), (project_id), (domain_name))
HAVING access_key IN (SELECT unnest($1::text[])) OR user_id IN (SELECT unnest($2::uuid[]))
    OR project_id IN (SELECT unnest($3::uuid[])) OR domain_name IN (SELECT unnest($4::text[]))
UNION ALL
SELECT access_key, user_id, project_id, domain_name, (o.position + 7)::int AS first_slot_index,
       ARRAY[sum(o.amount)::text] AS occupied
FROM kernels
CROSS JOIN LATERAL unnest(occupied_slots[9:]) WITH ORDINALITY AS o (amount, position)
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND cardinality(occupied_slots) > 8
GROUP BY GROUPING SETS ((access_key, o.position), (user_id, o.position),
                        (project_id, o.position), (domain_name, o.position))
HAVING access_key IN (SELECT unnest($1::text[])) OR user_id IN (SELECT unnest($2::uuid[]))
    OR project_id IN (SELECT unnest($3::uuid[])) OR domain_name IN (SELECT unnest($4::text[]))
