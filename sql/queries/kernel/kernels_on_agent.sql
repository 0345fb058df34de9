-- One page of the kernels that occupy an agent, by id.
-- Parameters: $1 agent, $2 the last id of the page before (NULL: the first page), $3 how many.
-- Index: kernels_occupying_idx (no kernel that has ended is in it).
SELECT id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image, architecture,
       status, agent_id, requested_slots, occupied_slots, exit_code, status_changed_at
FROM kernels
WHERE agent_id = $1 AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
  AND ($2::uuid IS NULL OR id > $2)
ORDER BY id
LIMIT $3
