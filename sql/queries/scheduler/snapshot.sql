-- Which instant of which database the transaction reads.
-- Parameters: none. Index: none. The first statement of the tick's transaction: it takes the
-- snapshot that all later ones share, so observed_at is the clock of that instant. What follows the snapshot says
-- which database this is: table_oid tells its schemas apart, as the tables of the search_path are read.
SELECT statement_timestamp()                                                AS observed_at,
       pg_current_snapshot()::text                                          AS snapshot,
       history.system_identifier,
       (SELECT oid FROM pg_database WHERE datname = current_database())     AS database_oid,
       to_regclass('sessions')::oid                                         AS table_oid,
       pg_postmaster_start_time()                                           AS started_at,
       history.schema_oid, history.log_oid, history.timeline, history.life, history.triggers, history.is_log_long
FROM change_history() AS history
