-- How much a purge would delete of what is older than a time, and how many sessions it would keep for others.
-- Parameters: $1 the time.
-- Index: sessions_finished_idx, agent_history_changed_at_idx, agent_history_agent_id_idx, operations_created_at_idx; the
-- rest, and where most of a table is that old, is read as a whole, once.
WITH seen AS MATERIALIZED (
    SELECT id, id IN (
        SELECT d.depends_on
        FROM session_dependencies AS d
        JOIN sessions AS dependant ON dependant.id = d.session_id
        WHERE dependant.status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')
    ) AS is_needed
    FROM sessions
    WHERE status IN ('TERMINATED', 'CANCELLED', 'ERROR') AND status_changed_at < $1
)
SELECT
    (SELECT count(*) FROM seen WHERE NOT is_needed) AS sessions,
    (SELECT count(*) FROM kernels AS k JOIN seen ON seen.id = k.session_id WHERE NOT seen.is_needed) AS kernels,
    (
        SELECT count(*)
        FROM agent_history AS h
        WHERE h.changed_at < $1
          AND h.id < (SELECT max(newest.id) FROM agent_history AS newest WHERE newest.agent_id = h.agent_id)
    ) AS agent_history,
    (SELECT count(*) FROM operations WHERE created_at < $1) AS operations,
    (SELECT count(*) FROM seen WHERE is_needed) AS kept_sessions
