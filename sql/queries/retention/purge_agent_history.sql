-- Delete the next rows of agents' history that are older than a time, the oldest first; the newest of each agent stays.
-- Parameters: $1 the time, $2 and $3 changed_at and id of the last row seen (NULLs: none), $4 how many to see.
-- Index: the function's, in schema.sql: agent_history_changed_at_idx, agent_history_agent_id_idx, agent_history_pkey.
SELECT seen, purged, last_changed_at AS changed_at, last_id AS id
FROM purge_agent_history($1::timestamptz, $2::timestamptz, $3::bigint, $4::int)
