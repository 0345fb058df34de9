-- The owners to whom a group is granted, by scope and id: one row with scope NULL if there are none, no row if there
-- is no such group.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey, scaling_group_grants_scaling_group_idx.
SELECT g.name AS scaling_group, given.scope, given.owner_id
FROM scaling_groups AS g
LEFT JOIN scaling_group_grants AS given ON given.scaling_group = g.name
WHERE g.name = $1
ORDER BY given.scope, given.owner_id
