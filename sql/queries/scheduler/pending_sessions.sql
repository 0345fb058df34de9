-- The queue of a group in its order: priority (high first), creation time, id.
-- Empty arrays are NULL, and times as they are sent, microseconds since 2000: the driver takes half of its time for others.
-- Parameters: $1 scaling group, $2 how many at the most (NULL: all).
-- Index: sessions_pending_idx, which holds only pending sessions, in this order.
SELECT s.id AS session_id, s.name, s.access_key, s.user_id, s.project_id, s.domain_name, s.priority, s.session_type,
       s.cluster_mode, timestamptz_send(s.created_at) AS created_at, s.requested_start_at,
       CASE WHEN cardinality(s.designated_agent_ids) > 0 THEN s.designated_agent_ids END AS designated_agent_ids,
       s.retry_count,
       CASE WHEN cardinality(s.failed_agent_ids) > 0 THEN s.failed_agent_ids END AS failed_agent_ids
FROM sessions AS s
WHERE s.scaling_group = $1 AND s.status = 'PENDING'
ORDER BY s.priority DESC, s.created_at, s.id
LIMIT $2
