-- Agents whose kernels together occupy more of a slot than the agent has, or are more than the containers it takes.
-- Counted from the kernels against the capacities, never from the counters. Amounts are in the slot's smallest unit.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it); agent_slots is read as a whole.
WITH held AS (
    SELECT k.agent_id, o.position - 1 AS slot_index, sum(o.amount) AS amount
    FROM kernels AS k
    CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
    WHERE k.agent_id IS NOT NULL AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY k.agent_id, o.position
)
SELECT 'agent'                                                          AS entity,
       h.agent_id                                                       AS entity_id,
       'capacity of ' || coalesce(t.name, 'slot index ' || h.slot_index) AS what,
       'at most ' || coalesce(s.capacity, 0)                            AS expected,
       h.amount::text                                                   AS found
FROM held AS h
LEFT JOIN slot_types AS t ON t.slot_index = h.slot_index
LEFT JOIN agent_slots AS s ON s.agent_id = h.agent_id AND s.slot_name = t.name
WHERE h.amount > coalesce(s.capacity, 0)
UNION ALL
SELECT 'agent', a.id, 'max_containers', 'at most ' || a.max_containers, count(*)::text
FROM agents AS a
JOIN kernels AS k ON k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
WHERE a.max_containers IS NOT NULL
GROUP BY a.id
HAVING count(*) > a.max_containers
ORDER BY entity_id, what
