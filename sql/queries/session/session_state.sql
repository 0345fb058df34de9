-- Where one session stands: its group, since when it has its status, and the agents that its kernels are or were on.
-- Parameters: $1 session. Index: sessions_pkey, kernels_session_id_kernel_index_key.
SELECT s.id AS session_id, s.name, s.scaling_group, s.status, s.result, s.created_at, s.status_changed_at,
       statement_timestamp() AS observed_at,
       ARRAY(
           SELECT DISTINCT k.agent_id
           FROM kernels AS k
           WHERE k.session_id = s.id AND k.agent_id IS NOT NULL
           ORDER BY k.agent_id
       ) AS agent_ids
FROM sessions AS s
WHERE s.id = $1
