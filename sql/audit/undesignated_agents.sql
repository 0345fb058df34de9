-- Kernels that occupy an agent other than those that their session designates.
-- Parameters: none. Index: sessions_occupying_idx, kernels_occupying_idx (nothing finished is in them).
SELECT 'kernel'                                                         AS entity,
       k.id::text                                                       AS entity_id,
       'agent_id'                                                       AS what,
       'one of ' || array_to_string(s.designated_agent_ids, ', ')       AS expected,
       k.agent_id                                                       AS found
FROM sessions AS s
JOIN kernels AS k ON k.session_id = s.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
WHERE s.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
  AND s.designated_agent_ids <> '{}' AND k.agent_id <> ALL (s.designated_agent_ids)
ORDER BY entity_id, what
