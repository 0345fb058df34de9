-- How many agents of a group hold kernels that together occupy more of any slot than the agent has, or that are
-- more than the containers it takes. Counted from the kernels against the capacities, never from the counters.
-- Parameters: $1 scaling group. Index: kernels_occupying_idx, once per agent; no finished kernel is in it.
SELECT count(*)
FROM agents AS a
WHERE a.scaling_group = $1
  AND (EXISTS (
           SELECT
           FROM kernels AS k
           CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
           LEFT JOIN slot_types AS t ON t.slot_index = o.position - 1
           LEFT JOIN agent_slots AS s ON s.agent_id = a.id AND s.slot_name = t.name
           WHERE k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
           GROUP BY o.position, s.capacity
           HAVING sum(o.amount) > coalesce(s.capacity, 0))
       OR a.max_containers < (
           SELECT count(*)
           FROM kernels AS k
           WHERE k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')))
