-- Sessions of mode SINGLE_NODE whose kernels occupy several agents.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it), then sessions_pkey per session that
-- occupies several agents.
SELECT 'session' AS entity, s.id::text AS entity_id, 'agents of a SINGLE_NODE session' AS what, '1' AS expected,
       spread.agents::text AS found
FROM (
    SELECT session_id, count(DISTINCT agent_id) AS agents
    FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY session_id
    HAVING count(DISTINCT agent_id) > 1
) AS spread
CROSS JOIN LATERAL (
    SELECT id FROM sessions WHERE id = spread.session_id AND cluster_mode = 'SINGLE_NODE' OFFSET 0
) AS s
ORDER BY entity_id, what
