-- Sessions whose last history row does not lead to the status that they have: something was changed past the engine.
-- A session without history rows is left out, as they may be purged; so are finished sessions, as they are many.
-- Parameters: none. Index: sessions_pending_idx, sessions_occupying_idx, then session_history_session_id_idx.
WITH unfinished_sessions AS (
    SELECT id, status FROM sessions WHERE status = 'PENDING'
    UNION ALL
    SELECT id, status FROM sessions WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
)
SELECT 'session' AS entity, s.id::text AS entity_id, 'status' AS what, last.to_status AS expected, s.status AS found
FROM unfinished_sessions AS s
CROSS JOIN LATERAL (
    SELECT to_status
    FROM session_history
    WHERE session_id = s.id AND kernel_id IS NULL
    ORDER BY id DESC
    LIMIT 1
) AS last
WHERE last.to_status <> s.status
ORDER BY entity_id, what
