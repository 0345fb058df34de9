-- Change the status of locked agents, or only what they return as, with their history.
-- Parameters: $1 agents, $2 the status that each has, $3 what it becomes (the same: it stays), $4 what it returns as,
--             $5 the reason of each (NULL: none).
-- Index: agents_pkey.
-- A trigger ends the reservations on agents that take kernels no more.
-- The time is the statement's: the transaction may have begun before the agent's last change.
WITH changed AS (
    UPDATE agents AS a
    SET status = given.to_status, returns_as = given.returns_as,
        status_changed_at = CASE WHEN given.to_status = given.from_status THEN a.status_changed_at
                                 ELSE statement_timestamp() END
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
         AS given (agent_id, from_status, to_status, returns_as, reason)
    WHERE a.id = given.agent_id AND a.status = given.from_status
    RETURNING a.id, given.from_status, given.to_status, given.reason
), recorded AS (
    INSERT INTO agent_history (agent_id, from_status, to_status, reason)
    SELECT id, from_status, to_status, reason
    FROM changed
    WHERE to_status <> from_status
)
SELECT id FROM changed
