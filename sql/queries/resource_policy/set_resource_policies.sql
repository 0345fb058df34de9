-- Create policies or replace those that exist, in the order of their names: two writers wait, none deadlocks.
-- Parameters: $1 names, $2 limits as the text of a bigint[], $3 sessions, $4 kernels per session; each name once.
-- Index: resource_policies_pkey.
INSERT INTO resource_policies (name, slot_limits, max_concurrent_sessions, max_kernels_per_session)
SELECT name, slot_limits::bigint[], max_concurrent_sessions, max_kernels_per_session
FROM unnest($1::text[], $2::text[], $3::int4[], $4::int4[])
    AS given (name, slot_limits, max_concurrent_sessions, max_kernels_per_session)
ORDER BY name COLLATE "C"
ON CONFLICT (name) DO UPDATE
SET slot_limits = excluded.slot_limits,
    max_concurrent_sessions = excluded.max_concurrent_sessions,
    max_kernels_per_session = excluded.max_kernels_per_session
