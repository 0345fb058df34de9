-- The queue of a group in its order: priority (high first), creation time, id.
-- Empty arrays are NULL, which costs the server and the driver less.
-- Parameters: $1 scaling group, $2 how many at the most (NULL: all).
-- Index: sessions_pending_idx, which holds only pending sessions, in this order.
SELECT id AS session_id, name, access_key, user_id, project_id, domain_name, priority, session_type,
       cluster_mode, created_at, requested_start_at, nullif(designated_agent_ids, '{}') AS designated_agent_ids,
       retry_count, nullif(failed_agent_ids, '{}') AS failed_agent_ids
FROM sessions
WHERE scaling_group = $1 AND status = 'PENDING'
ORDER BY priority DESC, created_at, id
LIMIT $2
