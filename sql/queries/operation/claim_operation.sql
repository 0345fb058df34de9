-- Claim an operation id; no row if it is taken. Waits for a transaction that is about to take it.
-- Parameters: $1 operation, $2 kind, $3 digest of the request. Index: operations_pkey.
INSERT INTO operations (id, kind, request_digest)
VALUES ($1, $2, $3)
ON CONFLICT (id) DO NOTHING
RETURNING pg_current_xact_id()::text::bigint AS transaction_id
