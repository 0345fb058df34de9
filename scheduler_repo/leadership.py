"""Keeps the lease of a scaling group while a scheduler runs: waits for it, renews it, releases it."""

import asyncio
import contextlib
from datetime import timedelta
from time import monotonic
from typing import Optional, Self

from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import DatabaseError, DatabaseTimeout, InvalidInput, LeaseHeld, StaleLeaseError
from scheduler_repo.outages import PASSING, Outage
from scheduler_repo.quoting import get_logger, quoted
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.types import LeaseHolder, ScalingGroupName
from scheduler_repo.wiring import check_wiring

_logger = get_logger(__name__)

# A third: two renewals may fail before the lease does.
_RENEWALS_PER_TTL = 3
# A lease that is given back early is found free after this many seconds at the latest.
_LONGEST_PAUSE = 1.0
# So long after the end of a lease it is asked for: its end is by the clock of the database.
_AFTER_ITS_END = 0.02


class LeaseKeeper:
    """Leads one scaling group while its ``async with`` block runs; several processes may wait for the lease.

    ``SchedulerLoop.run`` opens the block itself. ``holder`` must be a name of this process alone. The database
    decides at each write whether the lease still holds, never this object: the writes of a process that was
    stopped for too long are refused.
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
        self._renewals = Outage(_logger, f"the renewal of the lease of {scaling_group}")
        self._waits = Outage(_logger, f"the wait for the lease of {scaling_group}")
        # The epoch that this process still leads under, as far as it knows, and until when without a renewal.
        self._epoch: Optional[int] = None
        self._leads_until = 0.0
        self._is_lost = asyncio.Event()
        # Why the lease was lost, where another process took it in the name of this one.
        self._taken: Optional[StaleLeaseError] = None

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

    @property
    def taken(self) -> Optional[StaleLeaseError]:
        """The error for a lease that another process took under the holder's name of this one; None else."""
        if self._taken is None:
            return None
        return self._taken.with_message(
            f"the lease of scaling group {quoted(self._scaling_group)} was taken by another process "
            f"of the same holder's name, {quoted(self._holder)}",
            "give each process a name of its own",
        )

    def leads(self) -> bool:
        """Whether this process leads under the lease that it acquired last, as ``leads_under`` knows it."""
        return self._lease is not None and self.leads_under(self._lease)

    def lost(self, lease: Lease, error: Optional[StaleLeaseError] = None) -> None:
        """Note that a write under a lease was refused with StaleLeaseError; ``reacquire`` begins anew."""
        if lease.epoch != self._epoch:
            return
        self._epoch = None
        self._is_lost.set()
        if error is not None and error.present_holder == self._holder:
            self._taken = error

    async def wait_until_lost(self) -> None:
        """Wait until a write or a renewal under the lease was refused; ``acquire`` begins anew."""
        await self._is_lost.wait()

    async def acquire(self) -> Lease:
        """Acquire the lease with a new epoch, in one try, and renew it from then on, until ``release``.

        Raises LeaseHeld, StaleLeaseError if the last one was taken by another process of the same holder's
        name, ScalingGroupNotFound, InvalidInput, and the errors of the database layer. Costs one statement, two
        if another holds it.
        """
        taken = self.taken
        if taken is not None:
            raise taken
        # What is refused under the lease before from now on is no other process's doing.
        self._epoch = None
        self._is_lost.clear()
        asked = monotonic()
        lease = self._lease = await self._repository.acquire_lease(self._scaling_group, self._holder, self._ttl)
        self._note_leading(lease, asked)
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew())
        return lease

    def pause_after(self, held: Optional[LeaseHeld] = None) -> float:
        """How many seconds to wait before the next try: to the end of the other's lease, at most one."""
        pause = min(self._ttl.total_seconds() / _RENEWALS_PER_TTL, _LONGEST_PAUSE)
        if held is None or held.held_for is None:
            return pause
        return min(pause, max(held.held_for.total_seconds(), 0.0) + _AFTER_ITS_END)

    async def reacquire(self) -> Lease:
        """Wait for the lease and acquire it with a new epoch, as after StaleLeaseError; then read anew.

        Waits for another holder to end, and, if this object has led before, for the database to come back: from
        a restart, a full disk or memory, too many connections, and from only reading. Raises what ``acquire``
        does otherwise. Costs two statements per try, a try a second.
        """
        has_led = self._lease is not None
        while True:
            pause = self.pause_after()
            try:
                lease = await self.acquire()
            except LeaseHeld as error:
                _logger.info("waiting for the lease of %s: %s", self._scaling_group, error)
                pause = self.pause_after(error)
            except DatabaseTimeout as error:
                # The holder was stopped inside a write.
                _logger.info("waiting for the lease of %s: %s", self._scaling_group, error)
            except PASSING as error:
                if not has_led:
                    raise
                self._waits.begin(error)
            else:
                self._waits.end()
                return lease
            await asyncio.sleep(pause)

    async def release(self) -> None:
        """End the lease, if it still holds, so that another need not wait for its end; raises nothing."""
        self._epoch = None
        renewal, self._renewal = self._renewal, None
        if renewal is not None:
            renewal.cancel()
            await asyncio.wait([renewal])
        if self._lease is not None:
            with contextlib.suppress(StaleLeaseError, DatabaseError):
                await self._repository.release_lease(self._lease)
        self._lease = None

    async def __aenter__(self) -> Self:
        await self.reacquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._ttl.total_seconds() / _RENEWALS_PER_TTL)
            await self._renew_once()

    async def _renew_once(self) -> None:
        lease, asked = self.lease, monotonic()
        if lease.epoch != self._epoch:
            return  # lost: it cannot be renewed, and whoever leads acquires it again
        try:
            renewed = await self._repository.renew_lease(lease, self._ttl)
        except (StaleLeaseError, DatabaseError) as error:
            # The next write raises the same; its caller decides what to do.
            self._renewals.begin(error)
            if isinstance(error, StaleLeaseError):
                self.lost(lease, error)
            return
        self._renewals.end()
        if self._lease is lease:
            self._lease = renewed
            self._note_leading(renewed, asked)

    def _note_leading(self, lease: Lease, asked: float) -> None:
        # Counted from before it was asked for: the database's clock began later.
        self._epoch = lease.epoch
        self._leads_until = asked + self._ttl.total_seconds()
