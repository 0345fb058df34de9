-- Kernels that are not reserved with their session, or that are reserved for another: a reservation holds exactly the
-- kernels of its session, as they are placed all or none.
-- Parameters: none. Index: kernels_session_id_kernel_index_key per reservation, kernels_pkey per reserved kernel;
-- the two tables of reservations are read as a whole, they hold few rows.
WITH owned AS (
    SELECT k.id AS kernel_id, r.session_id
    FROM reservations AS r
    CROSS JOIN LATERAL (SELECT id FROM kernels WHERE session_id = r.session_id OFFSET 0) AS k
)
SELECT 'kernel' AS entity,
       coalesce(o.kernel_id, h.kernel_id)::text AS entity_id,
       'reserved for session' AS what,
       coalesce(o.session_id::text, 'none') AS expected,
       coalesce(h.session_id::text, 'none') AS found
FROM owned AS o
FULL JOIN kernel_reservations AS h ON h.kernel_id = o.kernel_id
WHERE o.session_id IS DISTINCT FROM h.session_id
ORDER BY entity_id, what
