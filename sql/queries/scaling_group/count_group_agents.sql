-- How many agents of a group are there, and how many of them take kernels, at which instant; no row if there is no
-- such group. The first statement of its transaction: it takes the snapshot, so observed_at is the clock of it.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey, agents_scaling_group_idx.
SELECT statement_timestamp() AS observed_at,
       count(a.id) AS agent_count,
       count(a.id) FILTER (WHERE a.status = 'ALIVE' AND a.is_schedulable) AS schedulable_agent_count
FROM scaling_groups AS g
LEFT JOIN agents AS a ON a.scaling_group = g.name AND a.status IN ('ALIVE', 'DRAINING')
WHERE g.name = $1
GROUP BY g.name
