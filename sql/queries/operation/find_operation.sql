-- What an operation was and what came of it.
-- Parameters: $1 operation. Index: operations_pkey.
SELECT kind, request_digest, result
FROM operations
WHERE id = $1
