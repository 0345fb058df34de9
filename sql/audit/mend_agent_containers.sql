-- Set the container counts of locked agents to the number of their kernels, where it is still what was seen.
-- Parameters: $1 agents, $2 what was seen, $3 how many kernels there are. Index: agents_pkey.
UPDATE agents AS a
SET container_count = given.held
FROM unnest($1::text[], $2::int[], $3::int[]) AS given (agent_id, recorded, held)
WHERE a.id = given.agent_id AND a.container_count = given.recorded
RETURNING a.id
