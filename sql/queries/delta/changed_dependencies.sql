-- What the named sessions depend on and what has become of it, as pending_dependencies.sql has it of a whole queue: also
-- what those of the latter wait for that wait themselves, and so on.
-- Parameters: $1 the sessions. Index: session_dependencies_pkey, sessions_pkey.
WITH RECURSIVE links AS (
    SELECT given.id AS session_id, d.depends_on, other.status, other.result, other.leads_on
    FROM unnest($1::uuid[]) AS given (id)
    CROSS JOIN LATERAL (SELECT depends_on FROM session_dependencies WHERE session_id = given.id OFFSET 0) AS d
    LEFT JOIN LATERAL (
        SELECT status, result, status = 'PENDING' AND has_dependencies AS leads_on
        FROM sessions WHERE id = d.depends_on OFFSET 0
    ) AS other ON true
    UNION
    SELECT last.depends_on, next.depends_on, other.status, other.result, other.leads_on
    FROM links AS last
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
FROM links
ORDER BY session_id, depends_on
