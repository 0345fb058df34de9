-- The sessions of a group that have been pending for longer than it allows, locked; the rest of the queue is not.
-- Parameters: $1 scaling group, $2 how many at the most. Index: sessions_pending_idx, scaling_groups_pkey.
-- A session that asked to start later waits from that time on. A change of status after now, of a clock that was
-- ahead, is not believed: it waits from its creation on, or, created by that clock too, from now on, which is stored.
WITH put_right AS (
    UPDATE sessions SET status_changed_at = statement_timestamp()
    WHERE id IN (SELECT id FROM sessions
                 WHERE scaling_group = $1 AND status = 'PENDING'
                   AND status_changed_at > statement_timestamp() AND created_at > statement_timestamp()
                 ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)
)
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
