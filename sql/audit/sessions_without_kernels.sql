-- Sessions that wait or occupy agents and have no kernel at all: there is nothing to place, or nothing to end. Finished
-- sessions are not looked at; a kernel that has finished counts here (kernel_statuses.sql finds it).
-- Parameters: none. Index: sessions_pending_idx, sessions_occupying_idx, kernels_pending_idx, kernels_occupying_idx;
-- then kernels_session_id_kernel_index_key per session with no kernel in these two.
WITH unfinished_sessions AS (
    SELECT id, status FROM sessions WHERE status = 'PENDING'
    UNION ALL
    SELECT id, status FROM sessions WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
), unfinished_kernels AS (
    SELECT session_id FROM kernels WHERE status = 'PENDING'
    UNION ALL
    SELECT session_id FROM kernels WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
)
SELECT 'session'                    AS entity,
       s.id::text                   AS entity_id,
       'kernels'                    AS what,
       'at least one'               AS expected,
       'none, ' || s.status         AS found
FROM unfinished_sessions AS s
LEFT JOIN unfinished_kernels AS k ON k.session_id = s.id
LEFT JOIN LATERAL (SELECT id FROM kernels WHERE session_id = s.id LIMIT 1) AS ended ON true
WHERE k.session_id IS NULL AND ended.id IS NULL
ORDER BY entity_id, what
