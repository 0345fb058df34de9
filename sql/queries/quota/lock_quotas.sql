-- The quota rows of a batch's owners, locked: of two that would take the last of a quota, one waits.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains, $5 the batch's scaling group.
-- Index: quotas_pkey, scaling_groups_pkey.
-- The limits and the usage are read by later statements, which see what the last holder of the lock committed.
-- An owner without a quota has no row to lock, so whoever makes one waits for the group's lock that comes first; it is
-- the condition of the whole query, and so is taken once, whether or not there are rows. FOR KEY SHARE: neither two
-- allocations nor a change of the group's options wait for each other.
WITH held AS MATERIALIZED (
    SELECT FROM scaling_groups WHERE name = $5 FOR KEY SHARE
)
SELECT scope, owner_id
FROM quotas
WHERE (SELECT count(*) FROM held) > 0
  AND ((scope = 'ACCESS_KEY' AND owner_id = ANY ($1::text[]))
    OR (scope = 'USER' AND owner_id = ANY ($2::uuid[]::text[]))
    OR (scope = 'PROJECT' AND owner_id = ANY ($3::uuid[]::text[]))
    OR (scope = 'DOMAIN' AND owner_id = ANY ($4::text[])))
ORDER BY scope, owner_id
FOR NO KEY UPDATE
