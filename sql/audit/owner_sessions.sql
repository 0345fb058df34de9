-- Owners of the four scopes for whom the sessions that occupy agents are not as many as the sessions of the kernels
-- that do: quotas count the former, what is occupied comes from the latter.
-- Parameters: none. Index: sessions_occupying_idx, kernels_occupying_idx (nothing finished is in them).
WITH by_kernels AS (
    SELECT access_key, user_id, project_id, domain_name, count(DISTINCT session_id) AS sessions
    FROM (
        SELECT DISTINCT session_id, access_key, user_id, project_id, domain_name
        FROM kernels
        WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    ) AS held
    GROUP BY GROUPING SETS ((access_key), (user_id), (project_id), (domain_name))
), by_sessions AS (
    SELECT access_key, user_id, project_id, domain_name, count(*) AS sessions
    FROM sessions
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY GROUPING SETS ((access_key), (user_id), (project_id), (domain_name))
), counted AS (
    SELECT access_key, user_id, project_id, domain_name, sessions AS of_kernels, 0 AS of_sessions FROM by_kernels
    UNION ALL
    SELECT access_key, user_id, project_id, domain_name, 0, sessions FROM by_sessions
)
SELECT CASE WHEN access_key IS NOT NULL THEN 'access key'
            WHEN user_id IS NOT NULL THEN 'user'
            WHEN project_id IS NOT NULL THEN 'project'
            ELSE 'domain' END                                                   AS entity,
       coalesce(access_key, user_id::text, project_id::text, domain_name)       AS entity_id,
       'sessions that occupy agents'                                            AS what,
       sum(of_kernels)::text                                                    AS expected,
       sum(of_sessions)::text                                                   AS found
FROM counted
GROUP BY access_key, user_id, project_id, domain_name
HAVING sum(of_kernels) <> sum(of_sessions)
ORDER BY entity, entity_id
