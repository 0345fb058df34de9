-- What is held for the pending sessions of the named owners, in all groups.
-- Parameters: $1 access keys, $2 users, $3 projects, $4 domains.
-- Index: kernels_pkey; kernel_reservations is read as a whole, it holds few rows.
SELECT k.session_id, k.access_key, k.user_id, k.project_id, k.domain_name, h.agent_id, k.requested_slots AS slots
FROM kernel_reservations AS h
JOIN kernels AS k ON k.id = h.kernel_id
WHERE k.access_key = ANY ($1::text[]) OR k.user_id = ANY ($2::uuid[])
   OR k.project_id = ANY ($3::uuid[]) OR k.domain_name = ANY ($4::text[])
