-- The next sessions that finished before a time, the longest finished first, locked; what another transaction holds is
-- not waited for.
-- Parameters: $1 the time, $2 and $3 status_changed_at and id of the last session seen (NULLs: none),
--             $4 how many to see.
-- Index: sessions_finished_idx, sessions_pkey.
-- FOR UPDATE and no weaker lock, so that no row which belongs to the session, such as history, is on its way.
WITH seen AS MATERIALIZED (
    SELECT id, status_changed_at
    FROM sessions
    WHERE status IN ('TERMINATED', 'CANCELLED', 'ERROR') AND status_changed_at < $1
      AND (status_changed_at, id)
        > (coalesce($2::timestamptz, '-infinity'), coalesce($3::uuid, '00000000-0000-0000-0000-000000000000'))
    ORDER BY status_changed_at, id
    LIMIT $4
), locked AS MATERIALIZED (
    SELECT id
    FROM sessions
    WHERE id = ANY (ARRAY(SELECT id FROM seen))
      AND status IN ('TERMINATED', 'CANCELLED', 'ERROR') AND status_changed_at < $1
    ORDER BY id
    FOR UPDATE SKIP LOCKED
)
SELECT seen.id AS session_id, seen.status_changed_at, locked.id IS NOT NULL AS is_locked
FROM seen
LEFT JOIN locked ON locked.id = seen.id
ORDER BY seen.status_changed_at, seen.id
