-- Move locked sessions from one status to another, with their history; who leaves the queue holds nothing any more.
-- Parameters: $1 sessions, $2 the status that each has, $3 what it becomes, $4 its result (NULL: not known),
--             $5 the reason for all of them (NULL: none).
-- Index: sessions_pkey, reservations_pkey.
-- The time is the statement's: the transaction may have begun before the session's last change.
WITH changed AS (
    UPDATE sessions AS s
    SET status = given.to_status, result = given.result, status_changed_at = statement_timestamp(),
        retry_count = s.retry_count + (given.to_status = 'PENDING')::int,
        dispatched_at = CASE WHEN given.to_status = 'PENDING' THEN NULL ELSE s.dispatched_at END
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS given (session_id, from_status, to_status, result)
    WHERE s.id = given.session_id AND s.status = given.from_status
      AND (given.to_status <> 'PENDING' OR s.retry_count < 2147483647)
    RETURNING s.id, given.from_status, given.to_status
), held AS MATERIALIZED (
    -- By id, as all who delete reservations do: a change of agents locks no sessions.
    SELECT r.session_id
    FROM reservations AS r
    JOIN changed ON changed.id = r.session_id
    WHERE changed.from_status = 'PENDING'
    ORDER BY r.session_id
    FOR UPDATE OF r
), unreserved AS (
    DELETE FROM reservations
    WHERE session_id IN (SELECT session_id FROM held)
), recorded AS (
    INSERT INTO session_history (session_id, from_status, to_status, reason)
    SELECT id, from_status, to_status, $5::text FROM changed
)
SELECT id FROM changed
