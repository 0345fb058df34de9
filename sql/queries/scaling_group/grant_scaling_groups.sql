-- Let owners use groups that are locked; answers with those that were not allowed to before.
-- Parameters: $1 groups, $2 scopes, $3 the owner of each. Index: scaling_group_grants_pkey.
INSERT INTO scaling_group_grants (scaling_group, scope, owner_id)
SELECT scaling_group, scope, owner_id
FROM unnest($1::text[], $2::text[], $3::text[]) AS given (scaling_group, scope, owner_id)
ON CONFLICT (scope, owner_id, scaling_group) DO NOTHING
RETURNING scaling_group, scope, owner_id
