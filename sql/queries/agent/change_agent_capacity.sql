-- Store the capacity that locked agents report, and the capacity that may be given away; new slots become rows.
-- Parameters: $1 agents, $2 slots, $3 capacities, $4 reported capacities. Index: agent_slots_pkey.
INSERT INTO agent_slots AS s (agent_id, slot_name, capacity, reported_capacity)
SELECT agent_id, slot_name, capacity, reported_capacity
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
     AS given (agent_id, slot_name, capacity, reported_capacity)
ORDER BY agent_id COLLATE "C", slot_name COLLATE "C"
ON CONFLICT (agent_id, slot_name) DO UPDATE
SET capacity = excluded.capacity, reported_capacity = excluded.reported_capacity
RETURNING s.agent_id
