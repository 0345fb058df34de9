-- Whether it is this transaction's turn to purge agents' history: false while another one does.
-- Parameters: none. Index: none, no table is read.
-- The role may not lock these rows, as that takes UPDATE and history is never changed: without a turn two purges would
-- wait for each other.
SELECT pg_try_advisory_xact_lock(hashtextextended('scheduler_repo.purge_agent_history', 0)) AS is_ours
