-- Add pending sessions, save those whose id is there: a second caller with the same ids waits for the first.
-- Parameters: one array per column, in its order; designated agents as the text of an array.
-- Index: sessions_pkey, in whose order all writers lock.
INSERT INTO sessions (id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type,
                      cluster_mode, priority, created_at, requested_start_at, designated_agent_ids)
SELECT id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type, cluster_mode, priority,
       created_at, requested_start_at, designated_agent_ids::text[]
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
            $9::text[], $10::int[], $11::timestamptz[], $12::timestamptz[], $13::text[])
     AS given (id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type, cluster_mode,
               priority, created_at, requested_start_at, designated_agent_ids)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id, created_at, status_changed_at
