-- The kernels of locked sessions that have not ended, those of one session together and in their order.
-- Parameters: $1 sessions. Index: kernels_session_id_kernel_index_key.
SELECT session_id, id AS kernel_id, status, agent_id, requested_slots, occupied_slots
FROM kernels
WHERE session_id = ANY ($1::uuid[]) AND status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')
ORDER BY session_id, kernel_index
