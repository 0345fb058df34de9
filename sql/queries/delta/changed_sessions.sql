-- Sessions of a group that may wait or be preempted now, of those that have changed and those that depend on them, with
-- their kernels; and those that wait behind the end of the queue as it was read, as many as may have left it.
-- Parameters: $1 scaling group, $2 the sessions that have changed; $3 how many from behind the end, whose priority, creation
-- time and id are $4, $5 and $6; $7 whether running ones are asked for (else only pending ones are answered), and of
-- which priority on all of them are, $8, where a more important session waits.
-- Index: sessions_pkey, session_dependencies_depends_on_idx, kernels_session_id_kernel_index_key,
-- sessions_pending_idx, sessions_running_idx. A status is looked at after a session is found by its id, else a plan that
-- was made while few waited may walk all that do.
WITH RECURSIVE affected AS (
    SELECT unnest($2::uuid[]) AS id
    UNION
    SELECT s.id
    FROM affected AS a
    CROSS JOIN LATERAL (SELECT session_id FROM session_dependencies WHERE depends_on = a.id OFFSET 0) AS d
    CROSS JOIN LATERAL (SELECT id, status FROM sessions WHERE id = d.session_id OFFSET 0) AS s
    WHERE s.status = 'PENDING'
), behind AS (
    (SELECT id, priority, created_at
     FROM sessions
     WHERE scaling_group = $1 AND status = 'PENDING' AND priority = $4 AND (created_at, id) > ($5, $6)
     ORDER BY priority DESC, created_at, id
     LIMIT $3)
    UNION ALL
    (SELECT id, priority, created_at
     FROM sessions
     WHERE scaling_group = $1 AND status = 'PENDING' AND priority < $4
     ORDER BY priority DESC, created_at, id
     LIMIT $3)
), asked AS (
    SELECT id FROM affected
    UNION
    (SELECT id FROM behind ORDER BY priority DESC, created_at, id LIMIT $3)
    UNION
    SELECT id
    FROM sessions
    WHERE $7 AND scaling_group = $1 AND status = 'RUNNING' AND priority >= $8
      AND priority < (SELECT max(priority) FROM sessions WHERE scaling_group = $1 AND status = 'PENDING')
)
SELECT s.id AS session_id, s.name, s.access_key, s.user_id, s.project_id, s.domain_name, s.priority, s.session_type,
       s.cluster_mode, timestamptz_send(s.created_at) AS created_at, s.requested_start_at, s.designated_agent_ids,
       s.retry_count, s.failed_agent_ids,
       s.status = 'PENDING' AS is_pending, s.has_dependencies,
       greatest(least(s.status_changed_at, '9999-12-31 00:00:00+00'), '0001-01-02 00:00:00+00') AS running_since,
       k.kernel_ids, k.indexes, k.architectures, k.agent_ids, k.slots
FROM (SELECT id FROM asked OFFSET 0) AS a
CROSS JOIN LATERAL (
    SELECT * FROM sessions
    WHERE id = a.id AND scaling_group = $1 AND (status = 'PENDING' OR $7 AND status = 'RUNNING')
    OFFSET 0
) AS s
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(id ORDER BY kernel_index), '{}')              AS kernel_ids,
           coalesce(array_agg(kernel_index ORDER BY kernel_index), '{}')    AS indexes,
           coalesce(array_agg(architecture ORDER BY kernel_index), '{}')    AS architectures,
           coalesce(array_agg(agent_id ORDER BY kernel_index), '{}')        AS agent_ids,
           coalesce(array_agg(
               (CASE s.status WHEN 'PENDING' THEN requested_slots ELSE occupied_slots END)::text
               ORDER BY kernel_index), '{}')                                AS slots
    FROM kernels
    WHERE session_id = s.id
      AND CASE s.status WHEN 'PENDING' THEN scaling_group = $1 AND status = 'PENDING'
          ELSE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') END
) AS k
