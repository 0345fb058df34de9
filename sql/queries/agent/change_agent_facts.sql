-- Store what locked agents say of themselves besides their slots.
-- Parameters: $1 agents, $2 addresses, $3 architectures, $4 the most containers of each (NULL: no limit).
-- Index: agents_pkey.
UPDATE agents AS a
SET address = given.address, architecture = given.architecture, max_containers = given.max_containers
FROM unnest($1::text[], $2::text[], $3::text[], $4::int[]) AS given (agent_id, address, architecture, max_containers)
WHERE a.id = given.agent_id
RETURNING a.id
