-- The time before which what has ended is purged, by the database's clock; in UTC, where every day has 24 hours.
-- Parameters: $1 how long what has ended is kept. Index: none, no table is read.
SELECT (statement_timestamp() AT TIME ZONE 'UTC' - $1::interval) AT TIME ZONE 'UTC' AS cutoff
