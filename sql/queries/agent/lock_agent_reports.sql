-- The ledger of a batch's agents, locked, with what they last reported of themselves.
-- Parameters: $1 agents. Index: agent_slots_pkey.
SELECT agent_id, slot_name, capacity, occupied, reported_capacity
FROM agent_slots
WHERE agent_id = ANY ($1::text[])
ORDER BY agent_id, slot_name
FOR NO KEY UPDATE
