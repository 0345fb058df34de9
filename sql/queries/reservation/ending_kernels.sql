-- The kernels that are ending on a batch's agents or for its owners: what they occupy is given back before long.
-- Parameters: $1 agents, $2 access keys, $3 users, $4 projects, $5 domains.
-- Index: kernels_occupying_idx (no finished kernel is in it).
SELECT session_id, access_key, user_id, project_id, domain_name, agent_id, occupied_slots AS slots
FROM kernels
WHERE status = 'TERMINATING'
  AND (agent_id = ANY ($1::text[]) OR access_key = ANY ($2::text[]) OR user_id = ANY ($3::uuid[])
       OR project_id = ANY ($4::uuid[]) OR domain_name = ANY ($5::text[]))
