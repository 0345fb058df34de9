-- Remember the agents on which attempts of locked sessions failed, each once, as far as the column's limits allow.
-- Parameters: $1 sessions, $2 an agent of each (a session may come with several). Index: sessions_pkey.
UPDATE sessions AS s
SET failed_agent_ids = ARRAY(
    SELECT agent_id
    FROM (
        SELECT agent_id, row_number() OVER (ORDER BY agent_id) AS place,
               sum(octet_length(agent_id)) OVER (ORDER BY agent_id) AS bytes
        FROM (SELECT unnest(s.failed_agent_ids) UNION SELECT unnest(given.agent_ids)) AS failed (agent_id)
    ) AS listed
    WHERE place <= 4096 AND bytes <= 131072
    ORDER BY agent_id)
FROM (
    SELECT session_id, array_agg(agent_id) AS agent_ids
    FROM unnest($1::uuid[], $2::text[]) AS pairs (session_id, agent_id)
    GROUP BY session_id
) AS given
WHERE s.id = given.session_id
RETURNING s.id
