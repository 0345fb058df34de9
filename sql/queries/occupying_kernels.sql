-- The kernels by which locked sessions occupy agents.
-- Parameters: $1 sessions. Index: kernels_session_id_kernel_index_key.
SELECT session_id, id AS kernel_id, agent_id, occupied_slots
FROM kernels
WHERE session_id = ANY ($1::uuid[]) AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
