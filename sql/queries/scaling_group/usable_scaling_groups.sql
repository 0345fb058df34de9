-- The groups that are public, or granted to one of these owners, by name.
-- Parameters: $1 access key, $2 user, $3 project (NULL: none), $4 domain.
-- Index: scaling_group_grants_pkey, once per owner.
SELECT name, is_active, is_public, pending_timeout, preemption_scope, preemption_min_runtime, created_at
FROM scaling_groups
WHERE is_public
   OR name IN (
       SELECT scaling_group FROM scaling_group_grants WHERE scope = 'ACCESS_KEY' AND owner_id = $1
       UNION ALL
       SELECT scaling_group FROM scaling_group_grants WHERE scope = 'USER' AND owner_id = $2::uuid::text
       UNION ALL
       SELECT scaling_group FROM scaling_group_grants WHERE scope = 'PROJECT' AND owner_id = $3::uuid::text
       UNION ALL
       SELECT scaling_group FROM scaling_group_grants WHERE scope = 'DOMAIN' AND owner_id = $4)
ORDER BY name
