-- The quotas that refer to the named policies, locked in the order of every writer; how many there are.
-- Parameters: $1 policies, which the transaction has changed before. Index: quotas_resource_policy_idx.
-- An allocation holds its owners' quotas until it commits: those that judge by the old policy commit before it does.
SELECT count(*)
FROM (
    SELECT scope, owner_id
    FROM quotas
    WHERE resource_policy = ANY ($1::text[])
    ORDER BY scope, owner_id
    FOR NO KEY UPDATE
) AS locked
