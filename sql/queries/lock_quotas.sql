-- The quota rows of a batch's owners, locked: of two that would take the last of a quota, one waits.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains. Index: quotas_pkey.
-- The limits and the usage are read by later statements, which see what the last holder of the lock committed.
SELECT scope, owner_id
FROM quotas
WHERE (scope = 'ACCESS_KEY' AND owner_id = ANY ($1::text[]))
   OR (scope = 'USER' AND owner_id = ANY ($2::uuid[]::text[]))
   OR (scope = 'PROJECT' AND owner_id = ANY ($3::uuid[]::text[]))
   OR (scope = 'DOMAIN' AND owner_id = ANY ($4::text[]))
ORDER BY scope, owner_id
FOR NO KEY UPDATE
