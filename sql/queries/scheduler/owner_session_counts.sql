-- How many sessions of the named owners occupy agents, in all groups; each row has one owner column set.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: sessions_occupying_idx (no finished session is in it).
SELECT access_key, user_id, project_id, domain_name, count(*) AS session_count
FROM sessions
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
GROUP BY GROUPING SETS ((access_key), (user_id), (project_id), (domain_name))
HAVING access_key IN (SELECT unnest($1::text[])) OR user_id IN (SELECT unnest($2::uuid[]))
    OR project_id IN (SELECT unnest($3::uuid[])) OR domain_name IN (SELECT unnest($4::text[]))
