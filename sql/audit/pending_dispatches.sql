-- Sessions that wait in the queue although their agents were told to start them.
-- Parameters: none. Index: sessions_pending_idx.
SELECT 'session'                                            AS entity,
       id::text                                             AS entity_id,
       'dispatched_at'                                      AS what,
       'none'                                               AS expected,
       (dispatched_at AT TIME ZONE 'UTC')::text || '+00'    AS found
FROM sessions
WHERE status = 'PENDING' AND dispatched_at IS NOT NULL
ORDER BY entity_id, what
