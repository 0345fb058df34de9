-- One kernel, whatever its status.
-- Parameters: $1 kernel. Index: kernels_pkey.
SELECT id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image, architecture,
       status, agent_id, requested_slots, occupied_slots, exit_code, status_changed_at
FROM kernels
WHERE id = $1
