-- The dependencies that some sessions have, and those that these have, and so on, as far as they are pending: who closes
-- a ring is among them. is_stored says whether there is the session that is depended on; observed_at is the clock.
-- Parameters: $1 sessions. Index: session_dependencies_pkey, sessions_pkey.
-- The first rows have no session_id: they are the sessions themselves.
WITH RECURSIVE links AS (
    SELECT NULL::uuid AS session_id, given.id AS depends_on, other.waits
    FROM unnest($1::uuid[]) AS given (id)
    LEFT JOIN LATERAL (
        SELECT status = 'PENDING' AND has_dependencies AS waits FROM sessions WHERE id = given.id OFFSET 0
    ) AS other ON true
    UNION
    SELECT links.depends_on, next.depends_on, other.waits
    FROM links
    CROSS JOIN LATERAL (
        SELECT depends_on FROM session_dependencies WHERE session_id = links.depends_on OFFSET 0
    ) AS next
    LEFT JOIN LATERAL (
        SELECT status = 'PENDING' AND has_dependencies AS waits FROM sessions WHERE id = next.depends_on OFFSET 0
    ) AS other ON true
    WHERE links.waits
)
SELECT session_id, depends_on, waits IS NOT NULL AS is_stored, statement_timestamp() AS observed_at
FROM links
