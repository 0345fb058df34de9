-- Agents that are gone and that kernels still occupy: an agent is terminated when it is empty, so nobody will end them.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it); agents is read as a whole.
SELECT 'agent'                          AS entity,
       a.id                             AS entity_id,
       'kernels of a TERMINATED agent'  AS what,
       '0'                              AS expected,
       count(*)::text                   AS found
FROM agents AS a
JOIN kernels AS k ON k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
WHERE a.status = 'TERMINATED'
GROUP BY a.id
ORDER BY entity_id, what
