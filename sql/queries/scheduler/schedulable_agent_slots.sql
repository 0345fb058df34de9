-- The ledger of the agents that take kernels: capacity and occupied per slot.
-- Parameters: $1 scaling group. Index: agents_schedulable_idx, agent_slots_pkey.
SELECT s.agent_id, t.slot_index, s.capacity, s.occupied
FROM agents AS a
JOIN agent_slots AS s ON s.agent_id = a.id
JOIN slot_types AS t ON t.name = s.slot_name
WHERE a.scaling_group = $1 AND a.status = 'ALIVE' AND a.is_schedulable
