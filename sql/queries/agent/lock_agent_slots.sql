-- The ledger of a batch's agents, locked.
-- Parameters: $1 agents. Index: agent_slots_pkey.
SELECT s.agent_id, t.slot_index, s.capacity, s.occupied
FROM agent_slots AS s
JOIN slot_types AS t ON t.name = s.slot_name
WHERE s.agent_id = ANY ($1::text[])
ORDER BY s.agent_id, s.slot_name
FOR NO KEY UPDATE OF s
