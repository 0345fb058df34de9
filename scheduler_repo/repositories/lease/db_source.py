"""The statements of leases; the database's clock alone decides."""

from datetime import timedelta

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import FIND_LEASE, stale_lease
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import LeaseHeld
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.types import LeaseHolder, ScalingGroupName

ACQUIRE_LEASE = load_statement("lease/acquire_lease")
RENEW_LEASE = load_statement("lease/renew_lease")
RELEASE_LEASE = load_statement("lease/release_lease")


class LeaseDBSource(DBSource):
    """Acquires, renews, releases and finds leases; each method costs one statement, one more if it raises."""

    async def acquire_lease(
        self, db_sess: SASession, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Lease:
        """Acquire the lease of a group with the next epoch; raises LeaseHeld if another holds it."""
        rows = await fetch_rows(db_sess, ACQUIRE_LEASE, scaling_group, holder, ttl)
        if rows:
            return Lease(*rows[0])
        (found,) = await fetch_rows(db_sess, FIND_LEASE, scaling_group)
        raise LeaseHeld(
            f"the lease of scaling group {scaling_group} is held by {found['holder']} (epoch {found['epoch']}) "
            f"until {found['expires_at'].isoformat()}; try again then",
            scaling_group=scaling_group,
            holder=LeaseHolder(found["holder"]),
            epoch=found["epoch"],
            held_for=found["held_for"],
        )

    async def renew_lease(self, db_sess: SASession, lease: Lease, ttl: timedelta) -> Lease:
        """Extend a lease; raises StaleLeaseError if it does not hold any more."""
        rows = await fetch_rows(db_sess, RENEW_LEASE, lease.scaling_group, lease.holder, lease.epoch, ttl)
        if not rows:
            raise await stale_lease(db_sess, lease)
        return Lease(*rows[0])

    async def release_lease(self, db_sess: SASession, lease: Lease) -> None:
        """End a lease; raises StaleLeaseError if it did not hold any more."""
        if not await fetch_rows(db_sess, RELEASE_LEASE, lease.scaling_group, lease.holder, lease.epoch):
            raise await stale_lease(db_sess, lease)
