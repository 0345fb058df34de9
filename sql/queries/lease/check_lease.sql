-- Whether a lease still holds; its row is locked, so that nobody takes it over before the transaction ends.
-- Parameters: $1 scaling group, $2 holder, $3 epoch. Index: scheduler_leases_pkey.
-- FOR SHARE: a weaker lock would let the take-over through. The clock is read after the wait for the lock.
WITH locked AS MATERIALIZED (
    SELECT epoch, expires_at
    FROM scheduler_leases
    WHERE scaling_group = $1 AND holder = $2 AND epoch = $3
    FOR SHARE
)
SELECT epoch
FROM locked
WHERE expires_at > clock_timestamp()
