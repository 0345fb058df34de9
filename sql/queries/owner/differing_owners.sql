-- Which of the named projects, users and keypairs exist otherwise than they are given: of another name, domain or
-- user. Parameters: $1 projects, $2 names, $3 domains; $4 users, $5 names, $6 domains; $7 access keys, $8 users.
-- Index: projects_pkey, users_pkey, keypairs_pkey.
SELECT 'project' AS kind, p.id::text AS owner_id, p.name, p.domain_name, NULL::uuid AS user_id,
       given.name AS given_name, given.domain_name AS given_domain_name, NULL::uuid AS given_user_id
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS given (id, name, domain_name)
JOIN projects AS p ON p.id = given.id
WHERE p.name <> given.name OR p.domain_name <> given.domain_name
UNION ALL
SELECT 'user', u.id::text, u.name, u.domain_name, NULL, given.name, given.domain_name, NULL
FROM unnest($4::uuid[], $5::text[], $6::text[]) AS given (id, name, domain_name)
JOIN users AS u ON u.id = given.id
WHERE u.name <> given.name OR u.domain_name <> given.domain_name
UNION ALL
SELECT 'keypair', k.access_key, NULL, NULL, k.user_id, NULL, NULL, given.user_id
FROM unnest($7::text[], $8::uuid[]) AS given (access_key, user_id)
JOIN keypairs AS k ON k.access_key = given.access_key
WHERE k.user_id <> given.user_id
ORDER BY kind, owner_id
