-- Let owners use groups that are locked no more; answers with those that were allowed to.
-- Parameters: $1 groups, $2 scopes, $3 the owner of each. Index: scaling_group_grants_pkey.
DELETE FROM scaling_group_grants AS g
USING unnest($1::text[], $2::text[], $3::text[]) AS given (scaling_group, scope, owner_id)
WHERE g.scope = given.scope AND g.owner_id = given.owner_id AND g.scaling_group = given.scaling_group
RETURNING g.scaling_group, g.scope, g.owner_id
