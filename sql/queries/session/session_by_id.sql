-- One session, whatever its status.
-- Parameters: $1 session. Index: sessions_pkey.
SELECT id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type, cluster_mode, priority,
       status, result, created_at, status_changed_at, requested_start_at, dispatched_at, retry_count,
       designated_agent_ids, failed_agent_ids
FROM sessions
WHERE id = $1
