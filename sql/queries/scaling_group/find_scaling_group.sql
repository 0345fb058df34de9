-- One scaling group with all its options; no row if there is no such group.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey.
SELECT name, is_active, is_public, pending_timeout, preemption_scope, preemption_min_runtime, created_at
FROM scaling_groups
WHERE name = $1
