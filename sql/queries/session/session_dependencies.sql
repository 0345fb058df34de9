-- What one session waits for, with status and result, both NULL where the other no longer exists. If it is pending, also
-- what those wait for that are pending themselves, and so on: whether it can ever start is seen from these.
-- Parameters: $1 session. Index: session_dependencies_pkey, sessions_pkey.
WITH RECURSIVE links AS (
    SELECT d.session_id, d.depends_on, other.status, other.result, other.waits
    FROM session_dependencies AS d
    LEFT JOIN LATERAL (
        SELECT status, result, status = 'PENDING' AND has_dependencies AS waits
        FROM sessions WHERE id = d.depends_on OFFSET 0
    ) AS other ON true
    WHERE d.session_id = $1
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
