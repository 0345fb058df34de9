-- Those of some sessions on which an unfinished session depends.
-- Parameters: $1 sessions. Index: session_dependencies_depends_on_idx, sessions_pkey, session_dependencies_pkey.
-- Arrays and no joins, and the sessions as a parameter: where very many depend on one session, the estimate for any other
-- is so far off that whole tables are read for each.
WITH unfinished AS MATERIALIZED (
    SELECT id
    FROM sessions
    WHERE id = ANY (ARRAY(SELECT session_id FROM session_dependencies WHERE depends_on = ANY ($1::uuid[])))
      AND status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')
)
SELECT DISTINCT depends_on AS session_id
FROM session_dependencies
WHERE session_id = ANY (ARRAY(SELECT id FROM unfinished)) AND depends_on = ANY ($1::uuid[])
