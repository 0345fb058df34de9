-- Count anew what owners occupy, beside writers. No check: the repair runs it.
-- Parameters: none. Index: the function's, in schema.sql: kernels_occupying_idx, sessions_occupying_idx.
SELECT rebuild_usage()
