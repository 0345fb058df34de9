-- Who an access key is, and whether it, its user, the user's domain and, if one is named, the project and the
-- project's domain are active. No row if there is no such access key; project_is_active is NULL if there is no such
-- project.
-- Parameters: $1 access key, $2 project (NULL: none). Index: keypairs_pkey, users_pkey, domains_pkey, projects_pkey.
SELECT u.id AS user_id, u.domain_name,
       k.is_active AND u.is_active AND d.is_active AS is_active,
       p.is_active AND pd.is_active AS project_is_active
FROM keypairs AS k
JOIN users AS u ON u.id = k.user_id
JOIN domains AS d ON d.name = u.domain_name
LEFT JOIN projects AS p ON p.id = $2::uuid
LEFT JOIN domains AS pd ON pd.name = p.domain_name
WHERE k.access_key = $1
