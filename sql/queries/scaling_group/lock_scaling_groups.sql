-- The groups whose grants are to change, locked by name: of two who change the same, one waits. New sessions and
-- agents of the groups do not wait for it.
-- Parameters: $1 scaling groups. Index: scaling_groups_pkey.
SELECT name
FROM scaling_groups
WHERE name = ANY ($1::text[])
ORDER BY name
FOR NO KEY UPDATE
