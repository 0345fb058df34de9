-- One page of what happened to all agents in a span of time, the newest first.
-- Parameters: $1 from, included, $2 until, excluded (NULL: without end), $3 and $4 time and id that the page before
--             ended with (NULL: the first page), $5 how many.
-- Index: agent_history_changed_at_idx, in this order; what changed at one instant is sorted by id.
SELECT id, agent_id, from_status, to_status, reason, changed_at
FROM agent_history
WHERE ($1::timestamptz IS NULL OR changed_at >= $1) AND ($2::timestamptz IS NULL OR changed_at < $2)
  AND ($3::timestamptz IS NULL OR (changed_at, id) < ($3, $4::bigint))
ORDER BY changed_at DESC, id DESC
LIMIT $5
