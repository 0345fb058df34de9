-- Add what usage_log alone has to the owners' rows; how many rows that was, NULL if another one is at it.
-- Parameters: none. Index: the function's, in schema.sql: usage_log_xid_idx, owner_usage_pkey.
SELECT fold_usage() AS folded
