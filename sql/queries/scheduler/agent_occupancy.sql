-- What the kernels occupy on the agents that take kernels, summed per slot: what the ledger must equal;
-- as text, for drifted sums may be above 63 bits.
-- Parameters: $1 scaling group. Index: agents_schedulable_idx, kernels_occupying_idx (no finished kernel is in it).
SELECT k.agent_id, (o.position - 1)::int AS slot_index, sum(o.amount)::text AS occupied
FROM agents AS a
JOIN kernels AS k ON k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
WHERE a.scaling_group = $1 AND a.status = 'ALIVE' AND a.is_schedulable AND o.amount > 0
GROUP BY k.agent_id, o.position
