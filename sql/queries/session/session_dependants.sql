-- Who waits for one session, by id.
-- Parameters: $1 session. Index: session_dependencies_depends_on_idx.
SELECT session_id FROM session_dependencies WHERE depends_on = $1 ORDER BY session_id
