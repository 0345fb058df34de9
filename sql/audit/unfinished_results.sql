-- Sessions that have a result and have not finished: what depends on them would start too early, or never.
-- Parameters: none. Index: sessions_pending_idx, sessions_occupying_idx (no finished session is in them).
SELECT 'session' AS entity, id::text AS entity_id, 'result' AS what, 'none, ' || status AS expected, result AS found
FROM sessions
WHERE status = 'PENDING' AND result IS NOT NULL
UNION ALL
SELECT 'session', id::text, 'result', 'none, ' || status, result
FROM sessions
WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND result IS NOT NULL
ORDER BY entity_id, what
