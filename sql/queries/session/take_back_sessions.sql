-- Take back sessions that this transaction created, with their kernels: one of their kernels' ids was there.
-- Parameters: $1 sessions. Index: sessions_pkey, in the function of schema.sql.
SELECT take_back_sessions($1::uuid[])
