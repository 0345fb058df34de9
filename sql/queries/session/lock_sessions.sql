-- The sessions of a batch, locked against any other change, in the one order that all writers lock in.
-- Parameters: $1 sessions. Index: sessions_pkey.
SELECT id AS session_id, name, access_key, user_id, project_id, domain_name, priority, session_type,
       cluster_mode, timestamptz_send(created_at) AS created_at, requested_start_at, designated_agent_ids,
       retry_count, failed_agent_ids,
       scaling_group, status, status_changed_at
FROM sessions
WHERE id = ANY ($1::uuid[])
ORDER BY id
FOR NO KEY UPDATE
