-- Extend a lease that still holds; no row if it does not. Its beginning is put right if it is after now.
-- Parameters: $1 scaling group, $2 holder, $3 epoch, $4 time to live. Index: scheduler_leases_pkey.
UPDATE scheduler_leases
SET expires_at = clock_timestamp() + $4::interval, acquired_at = least(acquired_at, clock_timestamp())
WHERE scaling_group = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp()
RETURNING scaling_group, holder, epoch, acquired_at, expires_at
