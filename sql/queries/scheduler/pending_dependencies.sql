-- What the pending sessions of a group depend on, and what has become of it; NULLs where it no longer exists.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: sessions_pending_dependent_idx, then session_dependencies_pkey and sessions_pkey per dependency.
-- An array and not a join: where many finished sessions had dependencies, a join's estimate is so far off that
-- the whole table is read.
SELECT d.session_id, d.depends_on, other.status, other.result
FROM session_dependencies AS d
LEFT JOIN sessions AS other ON other.id = d.depends_on
WHERE d.session_id = ANY (ARRAY(
    SELECT s.id
    FROM sessions AS s
    WHERE s.scaling_group = $1 AND s.status = 'PENDING' AND s.has_dependencies
      AND ($2::uuid[] IS NULL OR s.id = ANY ($2))
))
ORDER BY d.session_id, d.depends_on
