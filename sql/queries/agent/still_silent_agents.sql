-- Which of locked agents are still not heard of: a statement after the lock sees the heartbeats of meanwhile.
-- Parameters: $1 agents, $2 the longest silence. Index: agents_pkey, agent_heartbeats_pkey.
SELECT a.id AS agent_id
FROM agents AS a
LEFT JOIN agent_heartbeats AS h ON h.agent_id = a.id
WHERE a.id = ANY ($1::text[]) AND a.status IN ('ALIVE', 'DRAINING')
  AND coalesce(h.heartbeat_at, a.status_changed_at) < statement_timestamp() - $2::interval
