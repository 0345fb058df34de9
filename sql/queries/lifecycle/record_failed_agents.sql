-- Remember the agents on which attempts of locked sessions failed, each once.
-- Parameters: $1 sessions, $2 an agent of each (a session may come with several). Index: sessions_pkey.
UPDATE sessions AS s
SET failed_agent_ids = ARRAY(
    SELECT unnest(s.failed_agent_ids) UNION SELECT unnest(given.agent_ids) ORDER BY 1)
FROM (
    SELECT session_id, array_agg(agent_id) AS agent_ids
    FROM unnest($1::uuid[], $2::text[]) AS pairs (session_id, agent_id)
    GROUP BY session_id
) AS given
WHERE s.id = given.session_id
RETURNING s.id
