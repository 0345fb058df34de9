-- What lists show of one session, with the sums of what its kernels request, by slot index; as text, for they may be
-- above 63 bits.
-- Parameters: $1 session. Index: sessions_pkey, kernels_session_id_kernel_index_key.
SELECT s.id, s.name, s.scaling_group, s.access_key, s.session_type, s.status, s.result, s.created_at,
       s.status_changed_at,
       ARRAY(
           SELECT sum(amount)::text
           FROM kernels AS k CROSS JOIN LATERAL unnest(k.requested_slots) WITH ORDINALITY AS r (amount, position)
           WHERE k.session_id = s.id
           GROUP BY position
           ORDER BY position
       ) AS requested_slots
FROM sessions AS s
WHERE s.id = $1
