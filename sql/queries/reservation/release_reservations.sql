-- Give up what is held for locked sessions; its kernels' rows go with it.
-- Parameters: $1 sessions. Index: reservations_pkey.
-- Locked by id first, as all who delete reservations do: a change of agents locks no sessions.
WITH held AS MATERIALIZED (
    SELECT session_id FROM reservations WHERE session_id = ANY ($1::uuid[]) ORDER BY session_id FOR UPDATE
)
DELETE FROM reservations
WHERE session_id IN (SELECT session_id FROM held)
RETURNING session_id
