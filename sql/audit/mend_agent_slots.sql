-- Set what locked agents have given away of slots to what their kernels hold, where it is still what was seen.
-- Parameters: $1 agents, $2 slots, $3 what was seen, $4 what the kernels hold. Index: agent_slots_pkey.
UPDATE agent_slots AS s
SET occupied = given.held
FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS given (agent_id, slot_name, recorded, held)
WHERE s.agent_id = given.agent_id AND s.slot_name = given.slot_name AND s.occupied = given.recorded
RETURNING s.agent_id
