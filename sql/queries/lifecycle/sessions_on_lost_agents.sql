-- The sessions of a group that have kernels on lost agents. They are locked, and looked at again, by later statements.
-- Parameters: $1 scaling group, $2 how many at the most. Index: kernels_occupying_idx, once per lost agent.
-- The group is the session's: an agent that was moved to another group may still run kernels of its former one.
SELECT DISTINCT k.session_id
FROM agents AS a
JOIN kernels AS k ON k.agent_id = a.id AND k.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
WHERE a.status = 'LOST' AND k.scaling_group = $1
ORDER BY k.session_id
LIMIT $2
