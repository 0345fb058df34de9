-- The named agents, of those of a group that take kernels, with their slots; one that is not answered takes none.
-- Parameters: $1 scaling group, $2 agents. Index: agents_pkey, agent_slots_pkey.
SELECT a.id AS agent_id, a.address, a.architecture, a.container_count, a.max_containers,
       s.slot_indexes, s.capacities, s.occupied
FROM (SELECT DISTINCT unnest($2::text[]) COLLATE "C" AS id) AS named
CROSS JOIN LATERAL (
    SELECT * FROM agents
    WHERE id = named.id AND scaling_group = $1 AND status = 'ALIVE' AND is_schedulable
    OFFSET 0
) AS a
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(t.slot_index), '{}')  AS slot_indexes,
           coalesce(array_agg(each.capacity), '{}') AS capacities,
           coalesce(array_agg(each.occupied), '{}') AS occupied
    FROM agent_slots AS each
    JOIN slot_types AS t ON t.name = each.slot_name
    WHERE each.agent_id = a.id
) AS s
