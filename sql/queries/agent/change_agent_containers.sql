-- Add to, or take from, the container counts of agents that are locked.
-- Parameters: $1 agents, $2 containers (negative: ended). Index: agents_pkey.
UPDATE agents AS a
SET container_count = a.container_count + given.containers
FROM unnest($1::text[], $2::int[]) AS given (agent_id, containers)
WHERE a.id = given.agent_id
RETURNING a.id
