"""Keeps the lease of a scaling group while a scheduler runs: waits for it, renews it, releases it."""

import asyncio
import contextlib
from datetime import timedelta
from time import monotonic
from typing import Optional, Self

from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import (
    DatabaseError,
    DatabaseExhausted,
    DatabaseReadOnly,
    DatabaseTimeout,
    DatabaseUnavailable,
    InvalidInput,
    LeaseHeld,
    StaleLeaseError,
    TransactionConflict,
)
from scheduler_repo.quoting import get_logger
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from scheduler_repo.wiring import check_wiring

_logger = get_logger(__name__)

# What an operator, or the server itself, mends in a while.
_PASSING = (DatabaseUnavailable, DatabaseExhausted, DatabaseReadOnly, TransactionConflict)
# A third: two renewals may fail before the lease does.
_RENEWALS_PER_TTL = 3


class LeaseKeeper:
    """Leads one scaling group while its ``async with`` block runs; several processes may wait for the lease.

    ``holder`` must be a name of this process alone. The database decides at each write whether the lease still
    holds, never this object: the writes of a process that was stopped for too long are refused.
    """

    def __init__(
        self,
        repository: LeaseRepository,
        scaling_group: ScalingGroupName,
        holder: LeaseHolder,
        ttl: timedelta = timedelta(seconds=30),
    ) -> None:
        """Prepare to lead a group; a lease that is not renewed ends after ``ttl``. Raises InvalidWiring."""
        check_wiring(repository, LeaseRepository, "repository", "LeaseRepository(db_source)")
        self._repository = repository
        self._scaling_group = scaling_group
        self._holder = holder
        self._ttl = ttl
        self._lease: Optional[Lease] = None
        self._renewal: Optional[asyncio.Task[None]] = None
        # The epoch that this process still leads under, as far as it knows, and until when without a renewal.
        self._epoch: Optional[int] = None
        self._leads_until = 0.0

    @property
    def lease(self) -> Lease:
        """The lease as it was last acquired or renewed; raises InvalidInput outside the block."""
        if self._lease is None:
            raise InvalidInput("the lease is not held; use it inside: async with LeaseKeeper(...)")
        return self._lease

    def leads_under(self, lease: Lease) -> bool:
        """Whether this process leads under a lease of its own, as far as it knows without asking.

        Not after ``lost`` or the end of the block, under a later epoch, or when ``ttl`` has passed without a
        renewal: another may lead by then. What a process shows of itself goes by this; a write never does.
        """
        return lease.epoch == self._epoch and monotonic() < self._leads_until

    def lost(self, lease: Lease) -> None:
        """Note that a write under a lease was refused with StaleLeaseError; ``reacquire`` begins anew."""
        if lease.epoch == self._epoch:
            self._epoch = None

    async def reacquire(self) -> Lease:
        """Wait for the lease and acquire it with a new epoch, as after StaleLeaseError; then read anew.

        Waits for another holder to end, and, if this object has led before, for the database to come back: from
        a restart, a full disk or memory, too many connections, and from only reading. Raises
        ScalingGroupNotFound, InvalidInput and lasting errors of the database layer. Costs two statements per
        try, about three tries per ttl.
        """
        has_led = self._lease is not None
        pause = self._ttl.total_seconds() / _RENEWALS_PER_TTL
        while True:
            asked = monotonic()
            try:
                self._lease = await self._repository.acquire_lease(self._scaling_group, self._holder, self._ttl)
            except (LeaseHeld, DatabaseTimeout) as error:
                # A timeout means that the holder was stopped inside a write.
                _logger.info("waiting for the lease of %s: %s", self._scaling_group, error)
            except _PASSING as error:
                if not has_led:
                    raise
                _logger.warning("waiting for the lease of %s: %s", self._scaling_group, error)
            else:
                self._note_leading(self._lease, asked)
                return self._lease
            await asyncio.sleep(pause)

    async def __aenter__(self) -> Self:
        await self.reacquire()
        self._renewal = asyncio.create_task(self._renew())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._epoch = None
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        with contextlib.suppress(StaleLeaseError, DatabaseError):
            await self._repository.release_lease(self.lease)
        self._lease = None

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / _RENEWALS_PER_TTL)
            await self._renew_once()

    async def _renew_once(self) -> None:
        lease, asked = self.lease, monotonic()
        try:
            renewed = await self._repository.renew_lease(lease, self._ttl)
        except (StaleLeaseError, DatabaseError) as error:
            # The next write raises the same; its caller decides what to do.
            _logger.warning("the lease of %s was not renewed: %s", self._scaling_group, error)
            if isinstance(error, StaleLeaseError):
                self.lost(lease)
            return
        if self._lease is lease:
            self._lease = renewed
            self._note_leading(renewed, asked)

    def _note_leading(self, lease: Lease, asked: float) -> None:
        # Counted from before it was asked for: the database's clock began later.
        self._epoch = lease.epoch
        self._leads_until = asked + self._ttl.total_seconds()
