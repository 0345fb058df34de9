-- Store the result of an operation that this transaction has claimed.
-- Parameters: $1 operation, $2 result. Index: operations_pkey.
UPDATE operations
SET result = $2
WHERE id = $1
