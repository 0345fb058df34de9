-- Agents whose last history row does not lead to the status that they have. An agent without history rows is left out,
-- as they may be purged.
-- Parameters: none. Index: agent_history_agent_id_idx per agent; agents is read as a whole.
SELECT 'agent' AS entity, a.id AS entity_id, 'status' AS what, last.to_status AS expected, a.status AS found
FROM agents AS a
CROSS JOIN LATERAL (
    SELECT to_status FROM agent_history WHERE agent_id = a.id ORDER BY id DESC LIMIT 1
) AS last
WHERE last.to_status <> a.status
ORDER BY entity_id, what
