-- All kernels of one session, by index, whatever their status.
-- Parameters: $1 session. Index: kernels_session_id_kernel_index_key.
SELECT id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image, architecture,
       status, agent_id, requested_slots, occupied_slots, exit_code, status_changed_at
FROM kernels
WHERE session_id = $1
ORDER BY kernel_index
