-- The sessions of a group that have been pending for longer than it allows, locked; the rest of the queue is not.
-- Parameters: $1 scaling group, $2 how many at the most. Index: sessions_pending_idx, scaling_groups_pkey.
-- A session that asked to start later waits from that time on.
SELECT s.id AS session_id
FROM sessions AS s
JOIN scaling_groups AS g ON g.name = s.scaling_group
WHERE s.scaling_group = $1 AND s.status = 'PENDING'
  AND statement_timestamp() - greatest(s.status_changed_at, s.requested_start_at) > g.pending_timeout
ORDER BY s.id
LIMIT $2
FOR NO KEY UPDATE OF s
