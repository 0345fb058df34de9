-- Kernels whose owners or scaling group are not their session's, of which they are a copy: usage is summed by them,
-- and the queue is read by them. Sessions and kernels that have finished are not looked at.
-- Parameters: none. Index: sessions_pending_idx, sessions_occupying_idx, kernels_pending_idx, kernels_occupying_idx.
WITH unfinished_sessions AS (
    SELECT id, scaling_group, access_key, user_id, project_id, domain_name
    FROM sessions WHERE status = 'PENDING'
    UNION ALL
    SELECT id, scaling_group, access_key, user_id, project_id, domain_name
    FROM sessions WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
), unfinished_kernels AS (
    SELECT id, session_id, scaling_group, access_key, user_id, project_id, domain_name
    FROM kernels WHERE status = 'PENDING'
    UNION ALL
    SELECT id, session_id, scaling_group, access_key, user_id, project_id, domain_name
    FROM kernels WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
)
SELECT 'kernel' AS entity, k.id::text AS entity_id, copied.what, copied.expected, copied.found
FROM unfinished_kernels AS k
JOIN unfinished_sessions AS s ON s.id = k.session_id
CROSS JOIN LATERAL (VALUES
    ('scaling_group', s.scaling_group, k.scaling_group),
    ('access_key', s.access_key, k.access_key),
    ('user_id', s.user_id::text, k.user_id::text),
    ('project_id', s.project_id::text, k.project_id::text),
    ('domain_name', s.domain_name, k.domain_name)
) AS copied (what, expected, found)
WHERE (s.scaling_group, s.access_key, s.user_id, s.project_id, s.domain_name)
      IS DISTINCT FROM (k.scaling_group, k.access_key, k.user_id, k.project_id, k.domain_name)
  AND copied.expected IS DISTINCT FROM copied.found
ORDER BY entity_id, what
