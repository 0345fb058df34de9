-- The lease of a scaling group as it stands, expired or not; no row if there never was one.
-- Parameters: $1 scaling group. Index: scheduler_leases_pkey.
SELECT scaling_group, holder, epoch, acquired_at, expires_at, expires_at > clock_timestamp() AS is_held
FROM scheduler_leases
WHERE scaling_group = $1
