-- What the pending sessions of a group depend on, and what has become of it; NULLs where it no longer exists. Also
-- what those of the latter wait for that are pending themselves and not among the former, and so on, so that a session
-- behind one that can never start, or in a ring, is known.
-- Parameters: $1 scaling group, $2 the sessions, where the queue was read with a limit (NULL: all).
-- Index: sessions_pending_dependent_idx, then session_dependencies_pkey and sessions_pkey per dependency.
-- An array and not a join, and OFFSET 0: where many finished sessions had dependencies, a join's estimate is so far off
-- that the whole table is read.
WITH RECURSIVE own AS MATERIALIZED (
    SELECT d.session_id, d.depends_on, other.status, other.result,
           other.status = 'PENDING' AND other.has_dependencies
               AND (other.scaling_group <> $1 OR $2::uuid[] IS NOT NULL) AS leads_on
    FROM session_dependencies AS d
    LEFT JOIN sessions AS other ON other.id = d.depends_on
    WHERE d.session_id = ANY (ARRAY(
        SELECT s.id
        FROM sessions AS s
        WHERE s.scaling_group = $1 AND s.status = 'PENDING' AND s.has_dependencies
          AND ($2::uuid[] IS NULL OR s.id = ANY ($2))
    ))
), beyond AS (
    SELECT NULL::uuid AS session_id, depends_on, NULL COLLATE "C" AS status, NULL COLLATE "C" AS result, true AS leads_on
    FROM own
    WHERE leads_on
    UNION
    SELECT last.depends_on, next.depends_on, other.status, other.result, other.leads_on
    FROM beyond AS last
    CROSS JOIN LATERAL (
        SELECT depends_on FROM session_dependencies WHERE session_id = last.depends_on OFFSET 0
    ) AS next
    LEFT JOIN LATERAL (
        SELECT status, result, status = 'PENDING' AND has_dependencies AS leads_on
        FROM sessions WHERE id = next.depends_on OFFSET 0
    ) AS other ON true
    WHERE last.leads_on
)
SELECT session_id, depends_on, status, result
FROM own
UNION ALL
SELECT session_id, depends_on, status, result
FROM beyond
WHERE session_id NOT IN (SELECT session_id FROM own)
ORDER BY session_id, depends_on
