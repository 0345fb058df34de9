-- Delete the next operations that are older than a time, the oldest first; what is locked is left for another time.
-- Parameters: $1 the time, $2 created_at of the last one seen (NULL: none), $3 how many.
-- Index: operations_created_at_idx, operations_pkey.
-- From $2 on: entries of the index before it belong to rows that are deleted, and would all be read again.
WITH locked AS MATERIALIZED (
    SELECT id, created_at
    FROM operations
    WHERE created_at < $1 AND created_at >= coalesce($2::timestamptz, '-infinity')
    ORDER BY created_at
    LIMIT $3
    FOR UPDATE SKIP LOCKED
), purged AS (
    DELETE FROM operations AS o
    WHERE o.id = ANY (ARRAY(SELECT id FROM locked))
    RETURNING o.created_at
)
SELECT count(*) AS purged, max(created_at) AS created_at FROM purged
