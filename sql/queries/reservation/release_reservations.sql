-- Give up what is held for locked sessions; its kernels' rows go with it.
-- Parameters: $1 sessions. Index: reservations_pkey.
DELETE FROM reservations
WHERE session_id = ANY ($1::uuid[])
RETURNING session_id
