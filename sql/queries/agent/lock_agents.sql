-- The agents of a batch, locked: their status and container counts stay as they are read here.
-- Parameters: $1 agents. Index: agents_pkey.
SELECT id AS agent_id, address, architecture, container_count, max_containers,
       scaling_group, status, is_schedulable
FROM agents
WHERE id = ANY ($1::text[])
ORDER BY id
FOR NO KEY UPDATE
