-- Take back sessions that were just created, with their kernels: one of their kernels' ids was there.
-- Parameters: $1 sessions. Index: sessions_pkey.
DELETE FROM sessions WHERE id = ANY ($1::uuid[])
