-- The options of one scaling group; no row if there is no such group.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey.
SELECT name, is_active, pending_timeout
FROM scaling_groups
WHERE name = $1
