-- Create quotas or replace those that exist, in the order in which every writer locks them.
-- Parameters: $1 scopes, $2 owner ids, $3 policies, $4 limits as the text of a bigint[], $5 sessions; each owner once.
-- Index: quotas_pkey.
INSERT INTO quotas (scope, owner_id, resource_policy, slot_limits, max_concurrent_sessions)
SELECT scope, owner_id, resource_policy, slot_limits::bigint[], max_concurrent_sessions
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::int4[])
    AS given (scope, owner_id, resource_policy, slot_limits, max_concurrent_sessions)
ORDER BY scope COLLATE "C", owner_id COLLATE "C"
ON CONFLICT (scope, owner_id) DO UPDATE
SET resource_policy = excluded.resource_policy,
    slot_limits = excluded.slot_limits,
    max_concurrent_sessions = excluded.max_concurrent_sessions
