-- Which of the groups, owners and vfolders that new sessions name exist, kept from being deleted until the end (the
-- vfolders alone are not: who may create sessions may not lock them).
-- Parameters: $1 scaling groups, $2 access keys, $3 projects, $4 vfolders.
-- Index: scaling_groups_pkey, keypairs_pkey, projects_pkey, vfolders_pkey.
WITH groups AS (
    SELECT name FROM scaling_groups WHERE name = ANY ($1::text[]) ORDER BY name FOR KEY SHARE
), keys AS (
    SELECT access_key, user_id FROM keypairs WHERE access_key = ANY ($2::text[]) ORDER BY access_key FOR KEY SHARE
), homes AS (
    SELECT id, domain_name FROM projects WHERE id = ANY ($3::uuid[]) ORDER BY id FOR KEY SHARE
)
SELECT name AS scaling_group, NULL AS access_key, NULL::uuid AS user_id, NULL::uuid AS project_id, NULL AS domain_name,
       NULL::uuid AS vfolder_id
FROM groups
UNION ALL SELECT NULL, access_key, user_id, NULL, NULL, NULL FROM keys
UNION ALL SELECT NULL, NULL, NULL, id, domain_name, NULL FROM homes
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, id FROM vfolders WHERE id = ANY ($4::uuid[])
