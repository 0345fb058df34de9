-- Kernels that occupy an agent of another architecture than they are built for.
-- Parameters: none. Index: kernels_occupying_idx (no finished kernel is in it); agents is read as a whole.
SELECT 'kernel'                         AS entity,
       k.id::text                       AS entity_id,
       'architecture of agent ' || a.id AS what,
       k.architecture                   AS expected,
       a.architecture                   AS found
FROM kernels AS k
JOIN agents AS a ON a.id = k.agent_id
WHERE k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') AND k.architecture <> a.architecture
ORDER BY entity_id, what
