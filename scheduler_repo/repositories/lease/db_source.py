"""The statements of leases; the database's clock alone decides."""

from datetime import timedelta
from typing import TYPE_CHECKING, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import FIND_LEASE
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lease import Lease
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.types import LeaseHolder, ScalingGroupName

if TYPE_CHECKING:
    from asyncpg import Record

ACQUIRE_LEASE = load_statement("lease/acquire_lease")
RENEW_LEASE = load_statement("lease/renew_lease")
RELEASE_LEASE = load_statement("lease/release_lease")


class LeaseDBSource(DBSource):
    """Acquires, renews, releases and finds leases; each method costs one statement."""

    async def acquire_lease(
        self, db_sess: SASession, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Optional[Lease]:
        """Acquire the lease of a group with the next epoch; None if another holds it."""
        rows = await fetch_rows(db_sess, ACQUIRE_LEASE, scaling_group, holder, ttl)
        return Lease(*rows[0]) if rows else None

    async def renew_lease(self, db_sess: SASession, lease: Lease, ttl: timedelta) -> Optional[Lease]:
        """Extend a lease; None if it does not hold any more."""
        rows = await fetch_rows(db_sess, RENEW_LEASE, lease.scaling_group, lease.holder, lease.epoch, ttl)
        return Lease(*rows[0]) if rows else None

    async def release_lease(self, db_sess: SASession, lease: Lease) -> bool:
        """End a lease; False if it did not hold any more."""
        return bool(await fetch_rows(db_sess, RELEASE_LEASE, lease.scaling_group, lease.holder, lease.epoch))

    async def find_lease(self, db_sess: SASession, scaling_group: ScalingGroupName) -> "Record":
        """Find the lease of a group that has one."""
        (row,) = await fetch_rows(db_sess, FIND_LEASE, scaling_group)
        return row
