-- What the pending sessions of a group depend on, and what has become of it; NULLs where it no longer exists. Also
-- what those among the latter wait for that are pending themselves, in whatever group, and so on: so that a session
-- behind one that can never start, or in a ring, is known.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: sessions_pending_dependent_idx, then session_dependencies_pkey per session and sessions_pkey per dependency.
-- OFFSET 0 and an array keep these look-ups: where many finished sessions had dependencies, a join's estimate is so far
-- off that the whole table is read.
WITH RECURSIVE links AS (
    SELECT d.session_id, d.depends_on, other.status, other.result, other.waits
    FROM session_dependencies AS d
    LEFT JOIN LATERAL (
        SELECT status, result, status = 'PENDING' AND has_dependencies AS waits
        FROM sessions WHERE id = d.depends_on OFFSET 0
    ) AS other ON true
    WHERE d.session_id = ANY (ARRAY(
        SELECT s.id
        FROM sessions AS s
        WHERE s.scaling_group = $1 AND s.status = 'PENDING' AND s.has_dependencies
          AND ($2::uuid[] IS NULL OR s.id = ANY ($2))
    ))
    UNION
    SELECT links.depends_on, next.depends_on, other.status, other.result, other.waits
    FROM links
    CROSS JOIN LATERAL (
        SELECT depends_on FROM session_dependencies WHERE session_id = links.depends_on OFFSET 0
    ) AS next
    LEFT JOIN LATERAL (
        SELECT status, result, status = 'PENDING' AND has_dependencies AS waits
        FROM sessions WHERE id = next.depends_on OFFSET 0
    ) AS other ON true
    WHERE links.waits
)
SELECT session_id, depends_on, status, result
FROM links
ORDER BY session_id, depends_on
