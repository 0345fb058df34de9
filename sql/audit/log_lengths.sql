-- The instant of the audit, how many rows the logs of changes have, and when somebody last folded and trimmed them.
-- Parameters: none. Index: usage_log_xid_idx; both logs are read as a whole. The first statement of the audit's transaction:
-- it takes the snapshot that all checks share. Where there is no floor, unfolded_usage raises its error.
SELECT statement_timestamp()                   AS observed_at,
       (SELECT count(*) FROM unfolded_usage)   AS unfolded_rows,
       (SELECT count(*) FROM usage_log)        AS usage_rows,
       (SELECT count(*) FROM change_log)       AS change_rows,
       folded_at,
       next_floor_at                           AS trimmed_at
FROM (VALUES (1)) AS always
LEFT JOIN change_floor ON true
