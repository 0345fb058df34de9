-- Which of locked agents are still not heard of: a statement after the lock sees the heartbeats of meanwhile.
-- A time after now is not believed, as in silent_agents.sql.
-- Parameters: $1 agents, $2 the longest silence. Index: agents_pkey, agent_heartbeats_pkey.
SELECT a.id AS agent_id
FROM agents AS a
LEFT JOIN agent_heartbeats AS h ON h.agent_id = a.id
WHERE a.id = ANY ($1::text[]) AND a.status IN ('ALIVE', 'DRAINING')
  AND statement_timestamp() - greatest('0001-01-01 00:00:00+00', coalesce(
        CASE WHEN h.heartbeat_at <= statement_timestamp() THEN h.heartbeat_at END,
        CASE WHEN a.status_changed_at <= statement_timestamp() THEN a.status_changed_at END)) > $2::interval
