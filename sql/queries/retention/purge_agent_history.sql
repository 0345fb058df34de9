-- Delete the next rows of agents' history that are older than a time, the oldest first; the newest of each agent stays.
-- Parameters: $1 the time, $2 and $3 changed_at and id of the last row seen (NULLs: none), $4 how many to see.
-- Index: agent_history_changed_at_idx, agent_history_agent_id_idx, agent_history_pkey.
-- max() and not EXISTS: the index gives it at once, while one row that is newer may be looked for in the whole table.
WITH seen AS MATERIALIZED (
    SELECT id, agent_id, changed_at
    FROM agent_history
    WHERE changed_at < $1
      AND (changed_at, id) > (coalesce($2::timestamptz, '-infinity'), coalesce($3::bigint, 0))
    ORDER BY changed_at, id
    LIMIT $4
), purged AS (
    DELETE FROM agent_history AS h
    WHERE h.id = ANY (ARRAY(SELECT id FROM seen))
      AND h.id < (SELECT max(newest.id) FROM agent_history AS newest WHERE newest.agent_id = h.agent_id)
    RETURNING h.id
)
SELECT count(*) OVER () AS seen, (SELECT count(*) FROM purged) AS purged, changed_at, id
FROM seen
ORDER BY changed_at DESC, id DESC
LIMIT 1
