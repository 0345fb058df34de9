-- Delete the next operations that are older than a time, the oldest first; what is locked is left for another time.
-- Parameters: $1 the time, $2 created_at of the last one seen (NULL: none), $3 how many.
-- Index: the function's, in schema.sql: operations_created_at_idx, operations_pkey.
SELECT purged, last_created_at AS created_at
FROM purge_operations($1::timestamptz, $2::timestamptz, $3::int)
