-- Locked sessions as they are archived, with what they depend on.
-- Parameters: $1 sessions. Index: sessions_pkey, session_dependencies_pkey.
SELECT s.id AS session_id, s.name, s.scaling_group, s.access_key, s.user_id, s.project_id, s.domain_name,
       s.session_type, s.cluster_mode, s.priority, s.status, s.result, s.designated_agent_ids, s.created_at,
       s.requested_start_at, s.status_changed_at, s.retry_count, s.failed_agent_ids, s.dispatched_at,
       ARRAY(
           SELECT d.depends_on FROM session_dependencies AS d WHERE d.session_id = s.id ORDER BY d.depends_on
       ) AS depends_on
FROM sessions AS s
WHERE s.id = ANY ($1::uuid[])
ORDER BY s.status_changed_at, s.id
