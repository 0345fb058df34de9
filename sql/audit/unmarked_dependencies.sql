-- Sessions in the queue that depend on others and are not marked so: they would be placed before these have ended.
-- A mark without dependencies is no finding: it costs a look, and what was marked stays marked.
-- Parameters: none. Index: sessions_pending_idx, then session_dependencies_pkey per session.
SELECT 'session' AS entity, s.id::text AS entity_id, 'has_dependencies' AS what, 'true' AS expected, 'false' AS found
FROM sessions AS s
CROSS JOIN LATERAL (SELECT FROM session_dependencies WHERE session_id = s.id LIMIT 1) AS one
WHERE s.status = 'PENDING' AND NOT s.has_dependencies
ORDER BY entity_id, what
