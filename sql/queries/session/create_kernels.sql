-- Add the kernels of sessions that were just created, save those whose id is there.
-- Parameters: one array per column, in its order; requested slots as the text of an array.
-- Index: kernels_pkey, in whose order all who create kernels this way lock.
INSERT INTO kernels (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image,
                     architecture, requested_slots)
SELECT id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image, architecture,
       requested_slots::bigint[]
FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::uuid[], $7::uuid[], $8::text[],
            $9::text[], $10::text[], $11::text[])
     AS given (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name, image,
               architecture, requested_slots)
ORDER BY id
ON CONFLICT (id) DO NOTHING
RETURNING id
