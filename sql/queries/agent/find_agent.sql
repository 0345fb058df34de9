-- What one agent is, when it was last heard of, and the clock to tell a silence by.
-- Parameters: $1 agent. Index: agents_pkey, agent_heartbeats_pkey.
SELECT a.id AS agent_id, a.scaling_group, a.status, a.is_schedulable, a.architecture, a.container_count,
       a.max_containers, a.status_changed_at, h.heartbeat_at, statement_timestamp() AS observed_at,
       a.address, a.returns_as, a.created_at
FROM agents AS a
LEFT JOIN agent_heartbeats AS h ON h.agent_id = a.id
WHERE a.id = $1
