"""Leases: which of several schedulers may write a group's decisions."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.row_locks import named_rows
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.errors import OutcomeUnknown
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from scheduler_repo.validation import check_duration, check_kind, check_length, check_name

T = TypeVar("T")

_resilience = layer_resilience(LayerType.LEASE_REPOSITORY)


class LeaseRepository(Repository[LeaseDBSource]):
    """Acquires, renews and releases leases.

    None needs an operation id: asking again does no harm. All raise OutcomeUnknown, which says what to do then,
    and the errors of the database layer.
    """

    source_type = LeaseDBSource

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def acquire_lease(
        self, scaling_group: ScalingGroupName, holder: LeaseHolder, ttl: timedelta
    ) -> Lease:
        """Acquire the lease of a group for ``ttl``, with a higher epoch than any before.

        The same holder may acquire it again at once, which fences off the process that it was before a restart;
        so every process needs a holder's name of its own. ``ttl`` must be longer than the engine's
        idle_in_transaction_timeout. Raises LeaseHeld, ScalingGroupNotFound, InvalidInput, and DatabaseTimeout
        while a holder that was stopped inside a transaction still locks it. Costs one statement, two if it is
        held.
        """
        self._check_ttl(ttl)
        check_length(scaling_group, "scaling group")
        check_name(holder, "holder")
        return await self._write(
            lambda db_sess: self._db_source.acquire_lease(db_sess, scaling_group, holder, ttl),
            advice="acquire it again, which the same holder may at once",
        )

    @_resilience.apply(OperationKind.IDEMPOTENT_WRITE)
    async def renew_lease(self, lease: Lease, ttl: timedelta) -> Lease:
        """Extend a lease that still holds to ``ttl`` from now, its epoch unchanged.

        Raises InvalidInput, and StaleLeaseError if it has expired or was taken over: acquire it again, and read
        before deciding. Waits for a write under the lease to end. Costs one statement.
        """
        check_kind(lease, Lease, "lease")
        check_lease(lease)
        self._check_ttl(ttl)
        return await self._write(
            lambda db_sess: self._db_source.renew_lease(db_sess, lease, ttl), advice="renew it again"
        )

    @_resilience.apply(OperationKind.WRITE)
    async def release_lease(self, lease: Lease) -> None:
        """End a lease, so that another need not wait for its expiry; raises StaleLeaseError if it ended before.

        Raises InvalidInput. Costs one statement.
        """
        check_kind(lease, Lease, "lease")
        check_lease(lease)
        await self._write(
            lambda db_sess: self._db_source.release_lease(db_sess, lease),
            advice="release it again, and take StaleLeaseError for done",
        )

    async def _write(self, change: Callable[[SASession], Awaitable[T]], *, advice: str) -> T:
        try:
            async with named_rows(self._db), self._db.begin_session() as db_sess:
                return await change(db_sess)
        except OutcomeUnknown as lost:
            raise OutcomeUnknown(
                f"the connection was lost at the COMMIT of a lease: it was written, or not; {advice}"
            ) from lost

    def _check_ttl(self, ttl: object) -> None:
        least = timedelta(seconds=self._db.idle_in_transaction_timeout)
        expected = (
            f"a timedelta above {least} (the engine's idle_in_transaction_timeout: a stopped holder can delay "
            "the take-over for so long) and up to a day"
        )
        check_duration(ttl, "ttl", expected, least=least + timedelta.resolution, most=timedelta(days=1))
