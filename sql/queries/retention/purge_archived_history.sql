-- The history of locked sessions as it is archived, that of one session in its order.
-- Parameters: $1 sessions. Index: session_history_session_id_idx.
SELECT session_id, kernel_id, from_status, to_status, reason, changed_at
FROM session_history
WHERE session_id = ANY ($1::uuid[])
ORDER BY session_id, id
