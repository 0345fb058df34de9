-- Operations that were committed without their result: asking again under the same id would answer nothing.
-- Parameters: none. Index: none, operations is read as a whole; what was purged from it costs nothing.
SELECT 'operation'          AS entity,
       id::text             AS entity_id,
       'result of ' || kind AS what,
       'a result'           AS expected,
       'none'               AS found
FROM operations
WHERE result IS NULL
ORDER BY entity_id, what
