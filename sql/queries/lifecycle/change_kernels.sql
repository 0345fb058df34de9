-- Move the kernels of locked sessions with them; back in the queue a kernel is on no agent.
-- Parameters: $1 kernels, $2 the status that each has, $3 what it becomes, $4 its exit code (NULL: not known),
--             $5 what it occupies from now on, as the text of a bigint[] (NULL: what it did).
-- Index: kernels_pkey.
UPDATE kernels AS k
SET status = given.to_status, exit_code = given.exit_code, status_changed_at = statement_timestamp(),
    agent_id = CASE WHEN given.to_status <> 'PENDING' THEN k.agent_id END,
    occupied_slots = CASE WHEN given.to_status = 'PENDING' THEN '{}'
                          ELSE coalesce(given.occupied_slots::bigint[], k.occupied_slots) END
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::int[], $5::text[])
     AS given (kernel_id, from_status, to_status, exit_code, occupied_slots)
WHERE k.id = given.kernel_id AND k.status = given.from_status
RETURNING k.id
