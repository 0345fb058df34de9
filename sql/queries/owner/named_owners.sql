-- Which of the named owners exist, and which of them have a quota; one row each, by scope and id.
-- Parameters: $1 scopes, $2 owner ids as quotas and grants have them, pairwise.
-- Index: quotas_pkey, keypairs_pkey, users_pkey, projects_pkey, domains_pkey.
-- Each owner is looked up by itself: EXISTS could read all of a table instead.
SELECT given.scope, given.owner_id, q.owner_id IS NOT NULL AS has_quota,
       CASE given.scope
           WHEN 'ACCESS_KEY' THEN (SELECT true FROM keypairs AS k WHERE k.access_key = given.owner_id)
           WHEN 'USER' THEN (SELECT true FROM users AS u WHERE u.id = given.owner_id::uuid)
           WHEN 'PROJECT' THEN (SELECT true FROM projects AS p WHERE p.id = given.owner_id::uuid)
           WHEN 'DOMAIN' THEN (SELECT true FROM domains AS d WHERE d.name = given.owner_id)
       END IS TRUE AS is_known
FROM unnest($1::text[], $2::text[]) AS given (scope, owner_id)
LEFT JOIN quotas AS q ON q.scope = given.scope AND q.owner_id = given.owner_id
ORDER BY given.scope COLLATE "C", given.owner_id COLLATE "C"
