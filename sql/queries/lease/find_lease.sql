-- The lease of a scaling group as it stands, expired or not; no row if there never was one. One that anybody may
-- take (acquire_lease.sql) is not held.
-- Parameters: $1 scaling group. Index: scheduler_leases_pkey.
SELECT scaling_group, holder, epoch, acquired_at, expires_at,
       expires_at > clock_timestamp() AND expires_at <= clock_timestamp() + interval '2 days'
           AND acquired_at <= clock_timestamp() AS is_held,
       expires_at - clock_timestamp() AS held_for
FROM scheduler_leases
WHERE scaling_group = $1
