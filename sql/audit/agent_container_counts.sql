-- Agents whose container_count is not the number of kernels that occupy them, too many or too few.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it); agents is read as a whole.
SELECT 'agent'                                              AS entity,
       coalesce(a.id, h.agent_id)                           AS entity_id,
       'container_count'                                    AS what,
       coalesce(h.containers, 0)::text                      AS expected,
       coalesce(a.container_count::text, 'no such agent')   AS found
FROM (
    SELECT agent_id, count(*) AS containers
    FROM kernels
    WHERE agent_id IS NOT NULL AND status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
    GROUP BY agent_id
) AS h
FULL JOIN agents AS a ON a.id = h.agent_id
WHERE coalesce(h.containers, 0) <> coalesce(a.container_count, 0)
ORDER BY entity_id, what
