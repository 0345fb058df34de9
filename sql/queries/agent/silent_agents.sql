-- The agents of a group that were not heard of for too long, locked in the order in which all writers lock agents.
-- Parameters: $1 scaling group, $2 the longest silence.
-- Index: agent_heartbeats_pkey; agents, which are few, is read as a whole.
-- An agent that was never heard of counts from its last change of status.
SELECT a.id AS agent_id, a.status, a.returns_as
FROM agents AS a
LEFT JOIN agent_heartbeats AS h ON h.agent_id = a.id
WHERE a.scaling_group = $1 AND a.status IN ('ALIVE', 'DRAINING')
  AND coalesce(h.heartbeat_at, a.status_changed_at) < statement_timestamp() - $2::interval
ORDER BY a.id
FOR NO KEY UPDATE OF a
