-- End sessions that are locked and occupy agents, with their history.
-- Parameters: $1 sessions, $2 the status that each has, $3 the result (NULL: not known). Index: sessions_pkey.
WITH changed AS (
    UPDATE sessions AS s
    SET status = 'TERMINATED', result = $3, status_changed_at = now()
    FROM unnest($1::uuid[], $2::text[]) AS given (session_id, from_status)
    WHERE s.id = given.session_id AND s.status = given.from_status
    RETURNING s.id, given.from_status
), recorded AS (
    INSERT INTO session_history (session_id, from_status, to_status)
    SELECT id, from_status, 'TERMINATED' FROM changed
)
SELECT id FROM changed
