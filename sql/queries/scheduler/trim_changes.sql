-- Delete rows of the logs that nobody needs any more; how many went, NULL if another one is at it.
-- Parameters: $1 how long they are kept, $2 how many of each log at most.
-- Index: the function's, in schema.sql: change_log_xid_idx, usage_log_xid_idx.
SELECT trim_changes($1::interval, $2::int) AS trimmed
