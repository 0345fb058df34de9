-- What the agents of a group have and have given away, all that are there and those of them that take kernels, for
-- every slot type. Sums are numeric: they may be above 63 bits.
-- Parameters: $1 scaling group. Index: agents_scaling_group_idx, agent_slots_pkey.
SELECT t.slot_index,
       coalesce(summed.capacity, 0)             AS capacity,
       coalesce(summed.occupied, 0)             AS occupied,
       coalesce(summed.schedulable_capacity, 0) AS schedulable_capacity,
       coalesce(summed.schedulable_occupied, 0) AS schedulable_occupied
FROM slot_types AS t
LEFT JOIN (
    SELECT s.slot_name,
           sum(s.capacity) AS capacity,
           sum(s.occupied) AS occupied,
           sum(s.capacity) FILTER (WHERE a.status = 'ALIVE' AND a.is_schedulable) AS schedulable_capacity,
           sum(s.occupied) FILTER (WHERE a.status = 'ALIVE' AND a.is_schedulable) AS schedulable_occupied
    FROM agents AS a
    JOIN agent_slots AS s ON s.agent_id = a.id
    WHERE a.scaling_group = $1 AND a.status IN ('ALIVE', 'DRAINING')
    GROUP BY s.slot_name
) AS summed ON summed.slot_name = t.name
ORDER BY t.slot_index
