-- Agents whose ledger is not what their kernels hold: agent_slots.occupied against the sum over the kernels that
-- occupy the agent, slot by slot, too much or too little; also what they hold of a slot that the agent has no row
-- for. Amounts are in the slot's smallest unit.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it); agent_slots is read as a whole.
WITH held AS (
    SELECT k.agent_id, o.position - 1 AS slot_index, sum(o.amount) AS amount
    FROM kernels AS k
    CROSS JOIN LATERAL unnest(k.occupied_slots) WITH ORDINALITY AS o (amount, position)
    WHERE k.agent_id IS NOT NULL AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY k.agent_id, o.position
), named AS (
    SELECT h.agent_id, h.slot_index, t.name AS slot_name, h.amount
    FROM held AS h
    LEFT JOIN slot_types AS t ON t.slot_index = h.slot_index
)
SELECT 'agent'                                                                      AS entity,
       coalesce(s.agent_id, h.agent_id)                                             AS entity_id,
       'occupied ' || coalesce(s.slot_name, h.slot_name, 'slot index ' || h.slot_index) AS what,
       coalesce(h.amount, 0)::text                                                  AS expected,
       coalesce(s.occupied::text, 'no row in agent_slots')                          AS found
FROM named AS h
FULL JOIN agent_slots AS s ON s.agent_id = h.agent_id AND s.slot_name = h.slot_name
WHERE coalesce(h.amount, 0) <> coalesce(s.occupied, 0)
ORDER BY entity_id, what
