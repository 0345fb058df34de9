-- Record that agents were heard of now; answers for each that is known its status, and nothing for the others.
-- Parameters: $1 agents. Index: agents_pkey, agent_heartbeats_pkey.
-- By id, so that two that record the same agents wait for one another instead of deadlocking. FOR KEY SHARE: an agent
-- that is deleted at this moment counts as unknown; changes of its status or its occupancy are not waited for.
-- A heartbeat stored with a time after now is of a clock that was ahead: it is replaced.
WITH known AS MATERIALIZED (
    SELECT id, status
    FROM agents
    WHERE id = ANY ($1::text[])
    ORDER BY id
    FOR KEY SHARE
), recorded AS (
    INSERT INTO agent_heartbeats AS h (agent_id, heartbeat_at)
    SELECT id, statement_timestamp() FROM known ORDER BY id
    ON CONFLICT (agent_id) DO UPDATE SET heartbeat_at = CASE
        WHEN h.heartbeat_at > clock_timestamp() THEN excluded.heartbeat_at
        ELSE greatest(h.heartbeat_at, excluded.heartbeat_at) END
    RETURNING agent_id
)
SELECT known.id AS agent_id, known.status
FROM known
JOIN recorded ON recorded.agent_id = known.id
