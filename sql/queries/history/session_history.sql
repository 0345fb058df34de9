-- What happened to one session and its kernels, the oldest first.
-- Parameters: $1 session. Index: session_history_session_id_idx, in this order.
SELECT id, session_id, kernel_id, from_status, to_status, reason, changed_at
FROM session_history
WHERE session_id = $1
ORDER BY id
