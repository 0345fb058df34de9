-- Kernels whose status says that they occupy an agent, and that are on none.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it).
SELECT 'kernel' AS entity, id::text AS entity_id, 'agent_id' AS what, 'an agent' AS expected, 'none' AS found
FROM kernels
WHERE agent_id IS NULL AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
ORDER BY entity_id, what
