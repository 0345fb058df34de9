-- The sessions of a group that have been pending for longer than it allows, locked; the rest of the queue is not.
-- Parameters: $1 scaling group, $2 how many at the most. Index: sessions_pending_idx, scaling_groups_pkey.
-- A session that asked to start later waits from that time on. A change of status after now, of a clock that was
-- ahead, is not believed: it waits from its creation on.
SELECT s.id AS session_id
FROM sessions AS s
JOIN scaling_groups AS g ON g.name = s.scaling_group
WHERE s.scaling_group = $1 AND s.status = 'PENDING'
  AND statement_timestamp() - greatest(
        CASE WHEN s.status_changed_at <= statement_timestamp() THEN s.status_changed_at ELSE s.created_at END,
        s.requested_start_at, '0001-01-01 00:00:00+00') > g.pending_timeout
ORDER BY s.id
LIMIT $2
FOR NO KEY UPDATE OF s
