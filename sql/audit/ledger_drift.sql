-- The counters of agents that are not what their kernels hold, with what limits them: slots, in the slot's smallest
-- unit, and containers, which have no slot. No check: the repair looks with it before its locks, and again under them.
-- recorded is NULL where there is no row for the counter, slot_name where no slot type has the index.
-- Parameters: $1 agents (NULL: all). Index: kernels_occupying_idx (no finished kernel is in it), agent_slots_pkey,
-- agents_pkey.
WITH held AS (
    SELECT k.agent_id, (o.position - 1)::int AS slot_index, sum(o.amount) AS amount
    FROM kernels AS k
    CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
    WHERE k.agent_id IS NOT NULL AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
      AND ($1::text[] IS NULL OR k.agent_id = ANY ($1))
    GROUP BY k.agent_id, o.position
), named AS (
    SELECT h.agent_id, h.slot_index, t.name AS slot_name, h.amount
    FROM held AS h
    LEFT JOIN slot_types AS t ON t.slot_index = h.slot_index
), recorded AS (
    SELECT s.agent_id, t.slot_index, s.slot_name, s.occupied, s.capacity
    FROM agent_slots AS s
    JOIN slot_types AS t ON t.name = s.slot_name
    WHERE $1::text[] IS NULL OR s.agent_id = ANY ($1)
), contained AS (
    SELECT agent_id, count(*) AS containers
    FROM kernels
    WHERE agent_id IS NOT NULL AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
      AND ($1::text[] IS NULL OR agent_id = ANY ($1))
    GROUP BY agent_id
), counted AS (
    SELECT id, container_count, max_containers
    FROM agents
    WHERE $1::text[] IS NULL OR id = ANY ($1)
)
SELECT coalesce(r.agent_id, h.agent_id)         AS agent_id,
       coalesce(r.slot_index, h.slot_index)     AS slot_index,
       coalesce(r.slot_name, h.slot_name)       AS slot_name,
       r.occupied                               AS recorded,
       coalesce(h.amount, 0)                    AS held,
       r.capacity                               AS "limit"
FROM named AS h
FULL JOIN recorded AS r ON r.agent_id = h.agent_id AND r.slot_name = h.slot_name
WHERE coalesce(h.amount, 0) <> coalesce(r.occupied, 0)
UNION ALL
SELECT coalesce(c.id, h.agent_id), NULL, NULL, c.container_count, coalesce(h.containers, 0), c.max_containers
FROM contained AS h
FULL JOIN counted AS c ON c.id = h.agent_id
WHERE coalesce(h.containers, 0) <> coalesce(c.container_count, 0)
ORDER BY agent_id, slot_index
