-- What the pending sessions of a group depend on, and what has become of it; NULLs where it no longer exists.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: sessions_pending_dependent_idx, then session_dependencies_pkey and sessions_pkey per dependency.
SELECT d.session_id, d.depends_on, other.status, other.result
FROM sessions AS s
JOIN session_dependencies AS d ON d.session_id = s.id
LEFT JOIN sessions AS other ON other.id = d.depends_on
WHERE s.scaling_group = $1 AND s.status = 'PENDING' AND s.has_dependencies
  AND ($2::uuid[] IS NULL OR s.id = ANY ($2))
ORDER BY d.session_id, d.depends_on
