-- Delete locked sessions with all that belongs to them.
-- Parameters: $1 sessions.
-- Index: sessions_pkey, session_history_session_id_idx, kernels_session_id_kernel_index_key; those of the foreign keys
-- for what is deleted with them.
WITH purged AS (
    DELETE FROM sessions
    WHERE id = ANY ($1::uuid[])
    RETURNING id
), forgotten AS (
    DELETE FROM session_history
    WHERE session_id = ANY ($1::uuid[])
)
-- The kernels are deleted at the end of the statement, and seen here as it began.
SELECT (SELECT count(*) FROM purged) AS sessions,
       (SELECT count(*) FROM kernels WHERE session_id = ANY ($1::uuid[])) AS kernels
