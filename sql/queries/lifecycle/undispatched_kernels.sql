-- The kernels of allocated sessions whose agents were not told yet, the longest allocated first.
-- One that prepares already is among them: of several agents, one may have been told before its teller was killed.
-- Parameters: $1 scaling group, $2 how many sessions at the most (NULL: all).
-- Index: sessions_undispatched_idx, kernels_session_id_kernel_index_key, agents_pkey.
SELECT s.id AS session_id, s.retry_count, k.id AS kernel_id, k.kernel_index, k.agent_id, a.address
FROM (
    SELECT id, retry_count, status_changed_at
    FROM sessions
    WHERE scaling_group = $1 AND status IN ('SCHEDULED', 'PREPARING') AND dispatched_at IS NULL
    ORDER BY status_changed_at, id
    LIMIT $2
) AS s
JOIN kernels AS k ON k.session_id = s.id
JOIN agents AS a ON a.id = k.agent_id
ORDER BY s.status_changed_at, s.id, k.kernel_index
