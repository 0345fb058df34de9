-- The running sessions of a group that some pending one is more important than, with what their kernels occupy: the
-- least important first, of those the youngest run first. Nothing where the group has preemption off.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey, sessions_pending_idx (for the highest priority),
-- sessions_running_idx, kernels_session_id_kernel_index_key per session or kernels_occupying_idx.
-- The conditions on the group and the queue are asked once, before any running session is looked at. A time that is far
-- off is brought into the years that clients have.
SELECT s.id AS session_id, s.access_key, s.user_id, s.project_id, s.domain_name, s.priority,
       greatest(least(s.status_changed_at, '9999-12-31 00:00:00+00'), '0001-01-02 00:00:00+00') AS running_since,
       k.agent_id, k.occupied_slots
FROM sessions AS s
LEFT JOIN kernels AS k ON k.session_id = s.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
WHERE (SELECT preemption_scope IS NOT NULL FROM scaling_groups WHERE name = $1)
  AND s.scaling_group = $1 AND s.status = 'RUNNING'
  AND s.priority < (SELECT max(priority) FROM sessions WHERE scaling_group = $1 AND status = 'PENDING')
ORDER BY s.priority, least(s.status_changed_at, statement_timestamp()) DESC, s.id, k.agent_id
