-- The agents of a group that were not heard of for too long, locked in the order in which all writers lock agents.
-- Parameters: $1 scaling group, $2 the longest silence.
-- Index: agent_heartbeats_pkey; agents, which are few, is read as a whole.
-- An agent that was never heard of counts from its last change of status. A time after now is not believed.
SELECT a.id AS agent_id, a.status, a.returns_as
FROM agents AS a
LEFT JOIN agent_heartbeats AS h ON h.agent_id = a.id
WHERE a.scaling_group = $1 AND a.status IN ('ALIVE', 'DRAINING')
  AND statement_timestamp() - greatest('0001-01-01 00:00:00+00', coalesce(
        CASE WHEN h.heartbeat_at <= statement_timestamp() THEN h.heartbeat_at END,
        CASE WHEN a.status_changed_at <= statement_timestamp() THEN a.status_changed_at END)) > $2::interval
ORDER BY a.id
FOR NO KEY UPDATE OF a
