-- The last that happened to one agent, the newest first.
-- Parameters: $1 agent, $2 how many. Index: agent_history_agent_id_idx, in this order.
SELECT id, agent_id, from_status, to_status, reason, changed_at
FROM agent_history
WHERE agent_id = $1
ORDER BY id DESC
LIMIT $2
