-- Put pending kernels on their agents; what they ask for is what they occupy from now on.
-- Parameters: $1 kernels, $2 the agent of each. Index: kernels_pkey.
UPDATE kernels AS k
SET status = 'SCHEDULED', agent_id = given.agent_id, occupied_slots = k.requested_slots, status_changed_at = statement_timestamp()
FROM unnest($1::uuid[], $2::text[]) AS given (kernel_id, agent_id)
WHERE k.id = given.kernel_id AND k.status = 'PENDING'
RETURNING k.id
