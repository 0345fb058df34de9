-- The ledger of some agents: what each gives away, has given, and last reported, by slot index.
-- Parameters: $1 agents. Index: agent_slots_pkey.
SELECT s.agent_id, s.slot_name, s.capacity, s.occupied, s.reported_capacity
FROM agent_slots AS s
JOIN slot_types AS t ON t.name = s.slot_name
WHERE s.agent_id = ANY ($1::text[])
ORDER BY s.agent_id, t.slot_index
