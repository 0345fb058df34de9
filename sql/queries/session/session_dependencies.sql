-- What one session waits for, by id, with status and result; both NULL where the other no longer exists.
-- Parameters: $1 session. Index: session_dependencies_pkey, sessions_pkey.
SELECT d.depends_on, s.status, s.result
FROM session_dependencies AS d
LEFT JOIN sessions AS s ON s.id = d.depends_on
WHERE d.session_id = $1
ORDER BY d.depends_on
