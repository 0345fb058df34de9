-- Kernels that occupy more of a slot than they requested: they were let in, and counted against quotas, for less.
-- Amounts are in the slot's smallest unit.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it).
SELECT 'kernel'                                                                 AS entity,
       k.id::text                                                               AS entity_id,
       'occupied ' || coalesce(t.name, 'slot index ' || (amounts.position - 1))  AS what,
       'at most ' || coalesce(amounts.requested, 0)                             AS expected,
       amounts.occupied::text                                                   AS found
FROM kernels AS k
CROSS JOIN LATERAL unnest(k.occupied_slots, k.requested_slots)
    WITH ORDINALITY AS amounts (occupied, requested, position)
LEFT JOIN slot_types AS t ON t.slot_index = amounts.position - 1
WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
  AND k.occupied_slots <> k.requested_slots AND amounts.occupied > coalesce(amounts.requested, 0)
ORDER BY entity_id, what
