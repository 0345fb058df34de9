"""Leases in PostgreSQL; time is the database's clock only."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.idempotent_write import FIND_LEASE, stale_lease
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import LeaseHeld, OutcomeUnknown
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from scheduler_repo.validation import check_duration, check_name

ACQUIRE_LEASE = load_statement("lease/acquire_lease")
RENEW_LEASE = load_statement("lease/renew_lease")
RELEASE_LEASE = load_statement("lease/release_lease")

_LONGEST = timedelta(days=1)
_resilience = layer_resilience(LayerType.LEASE_DB_SOURCE)


class LeaseDBSource:
    """Acquires, renews and releases leases."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def acquire_lease(
        self, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Lease:
        """Take the lease of a group for ``ttl``, with a higher epoch than any before.

        The same holder may take it again at once, which fences what it was before a restart. Raises LeaseHeld,
        ScalingGroupNotFound, InvalidInput, OutcomeUnknown, and DatabaseTimeout while a holder that was stopped
        inside a transaction still locks it. Costs one statement, two if it is held.
        """
        self._check_ttl(ttl)
        check_name(holder, "holder")
        async with self._begin("acquire it again, which the same holder may at once") as db_sess:
            rows = await fetch_rows(db_sess, ACQUIRE_LEASE, scaling_group, holder, ttl)
            if not rows:
                (found,) = await fetch_rows(db_sess, FIND_LEASE, scaling_group)
                raise LeaseHeld(
                    f"the lease of scaling group {scaling_group} is held by {found['holder']} (epoch "
                    f"{found['epoch']}) until {found['expires_at'].isoformat()}; try again then"
                )
        return Lease(*rows[0])

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def renew_lease(self, lease: Lease, ttl: timedelta) -> Lease:
        """Extend a lease that still holds to ``ttl`` from now, its epoch unchanged.

        Raises StaleLeaseError if it has expired or was taken over: acquire it again. Waits for a write under
        the lease to end. Costs one statement.
        """
        self._check_ttl(ttl)
        async with self._begin("renew it again") as db_sess:
            rows = await fetch_rows(db_sess, RENEW_LEASE, lease.scaling_group, lease.holder, lease.epoch, ttl)
            if not rows:
                raise await stale_lease(db_sess, lease)
        return Lease(*rows[0])

    @_resilience.apply(OperationKind.WRITE)
    async def release_lease(self, lease: Lease) -> None:
        """End a lease, so that another need not wait for its expiry; raises StaleLeaseError if it ended before.

        Costs one statement.
        """
        async with self._begin("release it again, and take StaleLeaseError for done") as db_sess:
            if not await fetch_rows(db_sess, RELEASE_LEASE, lease.scaling_group, lease.holder, lease.epoch):
                raise await stale_lease(db_sess, lease)

    @asynccontextmanager
    async def _begin(self, advice: str) -> AsyncIterator[SASession]:
        # A lease has no operation id, and needs none: asking again does no harm.
        try:
            async with self._engine.begin_session() as db_sess:
                yield db_sess
        except OutcomeUnknown as lost:
            raise OutcomeUnknown(
                f"the connection was lost at the COMMIT of a lease: it was written, or not; {advice}"
            ) from lost

    def _check_ttl(self, ttl: object) -> None:
        least = timedelta(seconds=self._engine.idle_in_transaction_timeout)
        expected = (
            f"a timedelta above {least} (the engine's idle_in_transaction_timeout: so long a stopped holder "
            "can delay the take-over) and up to a day"
        )
        check_duration(ttl, "ttl", expected, least=least + timedelta.resolution, most=_LONGEST)
