-- Delete locked sessions with all that belongs to them, save those that the rules of a purge keep.
-- Parameters: $1 sessions, $2 the time before which they must have finished.
-- Index: the function's, in schema.sql: sessions_pkey, session_history_session_id_idx, kernels_session_id_kernel_index_key,
-- session_dependencies_depends_on_idx; those of the foreign keys for what is deleted with them.
SELECT sessions, kernels
FROM purge_sessions($1::uuid[], $2::timestamptz)
