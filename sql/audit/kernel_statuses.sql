-- Kernels whose status is not their session's: a kernel moves with its session, in the same transaction. Sessions
-- and kernels that have both finished are not looked at.
-- Parameters: none. Index: sessions_pending_idx, sessions_occupying_idx, kernels_pending_idx,
-- kernels_occupying_idx; then kernels_session_id_kernel_index_key per session (OFFSET 0 keeps it a look-up: a join
-- may read the finished kernels), and sessions_pkey per kernel whose session is in neither index.
WITH unfinished_sessions AS MATERIALIZED (
    SELECT id, status FROM sessions WHERE status = 'PENDING'
    UNION ALL
    SELECT id, status FROM sessions WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
), unfinished_kernels AS (
    SELECT id, session_id, status FROM kernels WHERE status = 'PENDING'
    UNION ALL
    SELECT id, session_id, status FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
)
SELECT 'kernel' AS entity, k.id::text AS entity_id, 'status' AS what, s.status AS expected, k.status AS found
FROM unfinished_sessions AS s
CROSS JOIN LATERAL (
    SELECT id, status FROM kernels WHERE session_id = s.id AND status <> s.status OFFSET 0
) AS k
UNION ALL
SELECT 'kernel', k.id::text, 'status', coalesce(ended.status, 'no such session'), k.status
FROM unfinished_kernels AS k
LEFT JOIN unfinished_sessions AS s ON s.id = k.session_id
LEFT JOIN LATERAL (SELECT status FROM sessions WHERE id = k.session_id OFFSET 0) AS ended ON true
WHERE s.id IS NULL
ORDER BY entity_id, what
