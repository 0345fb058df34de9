-- The quota rows of a batch's owners, locked: of two that would take the last of a quota, one waits.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains, $5 whether to wait while a quota is added for an owner
-- without one; if not, there may be no rows. Index: quotas_pkey.
-- The limits and the usage are read by later statements, which see what the last holder of the lock committed.
-- An owner without a quota has no row to lock, so whoever makes one waits for the lock that comes first; it is the
-- condition of the whole query, and so is taken once, whether or not there are rows.
SELECT scope, owner_id
FROM quotas
WHERE (SELECT hold_quotas(false, $5))
  AND ((scope = 'ACCESS_KEY' AND owner_id = ANY ($1::text[]))
    OR (scope = 'USER' AND owner_id = ANY ($2::uuid[]::text[]))
    OR (scope = 'PROJECT' AND owner_id = ANY ($3::uuid[]::text[]))
    OR (scope = 'DOMAIN' AND owner_id = ANY ($4::text[])))
ORDER BY scope, owner_id
FOR NO KEY UPDATE
