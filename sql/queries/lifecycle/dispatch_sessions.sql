-- Mark attempts of locked sessions as dispatched, those that were not and still wait for it.
-- Parameters: $1 sessions, $2 the attempt of each. Index: sessions_pkey.
UPDATE sessions AS s
SET dispatched_at = statement_timestamp()
FROM unnest($1::uuid[], $2::int[]) AS given (session_id, retry_count)
WHERE s.id = given.session_id AND s.retry_count = given.retry_count
  AND s.status IN ('SCHEDULED', 'PREPARING') AND s.dispatched_at IS NULL
RETURNING s.id
