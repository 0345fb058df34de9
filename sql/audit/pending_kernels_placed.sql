-- Kernels that wait in the queue and are on an agent or occupy something.
-- Parameters: none. Index: kernels_pending_idx.
SELECT 'kernel' AS entity, k.id::text AS entity_id, placed.what, 'none' AS expected, placed.found
FROM kernels AS k
CROSS JOIN LATERAL (VALUES
    ('agent_id', k.agent_id, k.agent_id IS NOT NULL),
    ('occupied_slots', k.occupied_slots::text, 0 <> ANY (k.occupied_slots))
) AS placed (what, found, is_held)
WHERE k.status = 'PENDING' AND (k.agent_id IS NOT NULL OR k.occupied_slots <> '{}') AND placed.is_held
ORDER BY entity_id, what
