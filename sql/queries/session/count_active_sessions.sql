-- How many sessions of one group occupy agents; no row if there is no such group.
-- Parameters: $1 scaling group. Index: scaling_groups_pkey, sessions_occupying_idx (no finished session is in it).
SELECT (
    SELECT count(*)
    FROM sessions AS s
    WHERE s.scaling_group = g.name AND s.status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING')
) AS session_count
FROM scaling_groups AS g
WHERE g.name = $1
