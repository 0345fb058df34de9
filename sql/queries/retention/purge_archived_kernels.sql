-- The kernels of locked sessions as they are archived, those of one session in their order.
-- Parameters: $1 sessions. Index: kernels_session_id_kernel_index_key.
SELECT session_id, id AS kernel_id, kernel_index, image, architecture, status, agent_id, requested_slots,
       occupied_slots, exit_code, status_changed_at
FROM kernels
WHERE session_id = ANY ($1::uuid[])
ORDER BY session_id, kernel_index
