-- End a lease that still holds; no row if it does not. The row stays: its epoch must not start again.
-- Parameters: $1 scaling group, $2 holder, $3 epoch. Index: scheduler_leases_pkey.
UPDATE scheduler_leases
SET expires_at = clock_timestamp()
WHERE scaling_group = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp()
RETURNING epoch
