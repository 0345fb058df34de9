-- Take sessions out of the queue, with their history.
-- Parameters: $1 sessions. Index: sessions_pkey.
WITH changed AS (
    UPDATE sessions
    SET status = 'SCHEDULED', status_changed_at = now()
    WHERE id = ANY ($1::uuid[]) AND status = 'PENDING'
    RETURNING id
), recorded AS (
    INSERT INTO session_history (session_id, from_status, to_status)
    SELECT id, 'PENDING', 'SCHEDULED' FROM changed
)
SELECT id FROM changed
