-- One page of the agents that a filter finds, by id.
-- Parameters: NULL where it is not asked; $1 scaling group, $2 statuses, $3 whether it is open for scheduling,
--             $4 architecture, $5 how its id begins, $6 the last agent of the page before; $7 how many at most.
-- Index: agents_scaling_group_idx or agents_pkey, in this order; agent_heartbeats_pkey, once per agent of the page, as
-- a join may read the heartbeats of all pages before.
SELECT a.id AS agent_id, a.scaling_group, a.status, a.is_schedulable, a.architecture, a.container_count,
       a.max_containers, a.status_changed_at,
       (SELECT h.heartbeat_at FROM agent_heartbeats AS h WHERE h.agent_id = a.id) AS heartbeat_at,
       statement_timestamp() AS observed_at
FROM agents AS a
WHERE ($1::text IS NULL OR a.scaling_group = $1)
  AND ($2::text[] IS NULL OR a.status = ANY ($2))
  AND ($3::boolean IS NULL OR a.is_schedulable = $3)
  AND ($4::text IS NULL OR a.architecture = $4)
  AND ($5::text IS NULL OR starts_with(a.id, $5))
  AND ($6::text IS NULL OR a.id > $6)
ORDER BY a.id
LIMIT $7
