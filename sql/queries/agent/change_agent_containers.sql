-- Add to, or take from, the container counts of agents that are locked; what does not fit changes no row.
-- Parameters: $1 agents, $2 containers (negative: ended). Index: agents_pkey.
UPDATE agents AS a
SET container_count = a.container_count::bigint + given.containers
FROM unnest($1::text[], $2::int[]) AS given (agent_id, containers)
WHERE a.id = given.agent_id
  AND a.container_count::bigint + given.containers BETWEEN 0 AND coalesce(a.max_containers, 2147483647)
RETURNING a.id
