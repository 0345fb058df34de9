-- Which of the named owners there are not.
-- Parameters: $1 scopes, $2 the owner of each: access key, id of a user or project, or domain.
-- Index: keypairs_pkey, users_pkey, projects_pkey, domains_pkey.
SELECT given.scope, given.owner_id
FROM unnest($1::text[], $2::text[]) AS given (scope, owner_id)
WHERE NOT CASE given.scope
    WHEN 'ACCESS_KEY' THEN EXISTS (SELECT FROM keypairs WHERE access_key = given.owner_id)
    WHEN 'USER' THEN EXISTS (SELECT FROM users WHERE id = given.owner_id::uuid)
    WHEN 'PROJECT' THEN EXISTS (SELECT FROM projects WHERE id = given.owner_id::uuid)
    ELSE EXISTS (SELECT FROM domains WHERE name = given.owner_id)
END
