-- The agents of a batch, locked, with all that a change of their life is judged by.
-- Parameters: $1 agents. Index: agents_pkey.
SELECT id AS agent_id, scaling_group, status, returns_as, address, architecture, container_count, max_containers,
       is_schedulable
FROM agents
WHERE id = ANY ($1::text[])
ORDER BY id
FOR NO KEY UPDATE
