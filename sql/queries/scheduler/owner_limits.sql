-- The limits of the named owners: their policy's and their own; each row has one owner column set.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains. Index: quotas_pkey, resource_policies_pkey.
SELECT CASE q.scope WHEN 'ACCESS_KEY' THEN q.owner_id END          AS access_key,
       CASE q.scope WHEN 'USER' THEN q.owner_id::uuid END          AS user_id,
       CASE q.scope WHEN 'PROJECT' THEN q.owner_id::uuid END       AS project_id,
       CASE q.scope WHEN 'DOMAIN' THEN q.owner_id END              AS domain_name,
       q.resource_policy,
       p.slot_limits                                               AS policy_slot_limits,
       p.max_concurrent_sessions                                   AS policy_max_concurrent_sessions,
       p.max_kernels_per_session                                   AS policy_max_kernels_per_session,
       q.slot_limits                                               AS own_slot_limits,
       q.max_concurrent_sessions                                   AS own_max_concurrent_sessions
FROM quotas AS q
LEFT JOIN resource_policies AS p ON p.name = q.resource_policy
WHERE (q.scope = 'ACCESS_KEY' AND q.owner_id = ANY ($1::text[]))
   OR (q.scope = 'USER' AND q.owner_id = ANY ($2::uuid[]::text[]))
   OR (q.scope = 'PROJECT' AND q.owner_id = ANY ($3::uuid[]::text[]))
   OR (q.scope = 'DOMAIN' AND q.owner_id = ANY ($4::text[]))
