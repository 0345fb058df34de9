-- Take the lease of a scaling group if it is free, expired, or the same holder's; no row if another holds it.
-- Parameters: $1 scaling group, $2 holder, $3 time to live. Index: scheduler_leases_pkey.
-- A lease acquired after now, or for longer than the day that one can last, is of a clock that was ahead: it is
-- not believed. The clock is read after the wait for a write that holds the row, not before.
INSERT INTO scheduler_leases AS lease (scaling_group, holder, epoch, acquired_at, expires_at)
VALUES ($1, $2, 1, clock_timestamp(), clock_timestamp() + $3::interval)
ON CONFLICT (scaling_group) DO UPDATE
SET holder = excluded.holder, epoch = lease.epoch + 1, acquired_at = clock_timestamp(),
    expires_at = clock_timestamp() + $3::interval
WHERE lease.expires_at <= clock_timestamp() OR lease.holder = excluded.holder
   OR lease.acquired_at > clock_timestamp() OR lease.expires_at > clock_timestamp() + interval '2 days'
RETURNING scaling_group, holder, epoch, acquired_at, expires_at
