-- The agents of a group that take kernels.
-- Parameters: $1 scaling group. Index: agents_schedulable_idx.
SELECT id AS agent_id, address, architecture, container_count, max_containers
FROM agents
WHERE scaling_group = $1 AND status = 'ALIVE' AND is_schedulable
ORDER BY id
