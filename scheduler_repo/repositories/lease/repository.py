"""Leases: which of several schedulers may write a group's decisions."""

from datetime import timedelta

from scheduler_repo.entities.lease import Lease
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import LeaseHolder, ScalingGroupName

_resilience = layer_resilience(LayerType.LEASE_REPOSITORY, retries=False)


class LeaseRepository:
    """Acquires, renews and releases leases."""

    def __init__(self, db_source: LeaseDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def acquire_lease(
        self, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Lease:
        """Take the lease of a group for ``ttl``, with a higher epoch than any before.

        The same holder may take it again at once, which fences what it was before a restart; so every process
        needs a holder's name of its own. ``ttl`` must be longer than the engine's idle_in_transaction_timeout.
        Raises LeaseHeld, ScalingGroupNotFound, InvalidInput, and DatabaseTimeout while a holder that was
        stopped inside a transaction still locks it. Costs one statement, two if it is held.
        """
        return await self._db_source.acquire_lease(scaling_group, holder, ttl)

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def renew_lease(self, lease: Lease, ttl: timedelta) -> Lease:
        """Extend a lease that still holds to ``ttl`` from now, its epoch unchanged.

        Raises StaleLeaseError if it has expired or was taken over: acquire it again, and read before deciding.
        Waits for a write under the lease to end. Costs one statement.
        """
        return await self._db_source.renew_lease(lease, ttl)

    @_resilience.apply(OperationKind.WRITE)
    async def release_lease(self, lease: Lease) -> None:
        """End a lease, so that another need not wait for its expiry; raises StaleLeaseError if it ended before.

        Costs one statement.
        """
        await self._db_source.release_lease(lease)
