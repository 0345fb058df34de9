-- The options of one scaling group; no row if there is no such group.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey.
SELECT name, is_active, pending_timeout, preemption_scope, preemption_min_runtime
FROM scaling_groups
WHERE name = $1
