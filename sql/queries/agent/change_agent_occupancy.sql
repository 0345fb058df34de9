-- Add to, or take from, the ledger of agents that are locked; what does not fit changes no row.
-- Parameters: $1 agents, $2 slot indexes, $3 amounts (negative: given back). Index: agent_slots_pkey.
UPDATE agent_slots AS s
SET occupied = s.occupied + given.amount
FROM unnest($1::text[], $2::int[], $3::bigint[]) AS given (agent_id, slot_index, amount)
JOIN slot_types AS t ON t.slot_index = given.slot_index
WHERE s.agent_id = given.agent_id AND s.slot_name = t.name
  -- Compared so that nothing passes 63 bits.
  AND CASE WHEN given.amount < 0 THEN s.occupied + given.amount >= 0
           ELSE s.occupied <= s.capacity - given.amount END
RETURNING s.agent_id
