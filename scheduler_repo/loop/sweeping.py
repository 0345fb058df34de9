"""Makes the sweeps of a loop: lost agents, their sessions, time limits, logs of changes, comparers, audits."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import partial
from time import monotonic
from typing import Final, Optional

from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import StaleLeaseError
from scheduler_repo.loop.sweeps import Reach, Schedule, Sweep, Sweeps
from scheduler_repo.metrics.ticks import show_audit
from scheduler_repo.outages import PASSING, Outage
from scheduler_repo.quoting import get_logger, quoted, shortened
from scheduler_repo.repositories.agent.repository import AgentRepository
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.validation import MAX_BATCH_SIZE
from scheduler_repo.wiring import check_wiring

# Above so many at once the rest goes the next time, soon.
_MOST_AT_ONCE: Final = 1_000
_LONGEST_LIST: Final = 500
# A fold of so many rows may have left some.
FOLDED_AT_ONCE: Final = 100_000

_logger = get_logger(__name__)

# Makes a sweep, and says whether it left something for soon.
_Make = Callable[[Optional[Lease]], Awaitable[bool]]


class _Round:
    """Sweeps that are made by one schedule; one that fails is made again at its time, as are the others."""

    def __init__(
        self, every: Mapping[Sweep, Optional[float]], makes: Mapping[Sweep, _Make], of_whom: str, reach: Reach
    ) -> None:
        self._schedule = Schedule({sweep: every[sweep] for sweep in makes}, monotonic())
        self._makes = makes
        self._reach = reach
        self._outages = {sweep: Outage(_logger, f"the sweep {sweep} of {of_whom}") for sweep in makes}

    @property
    def errors(self) -> int:
        return sum(outage.failures for outage in self._outages.values())

    def next_due(self, longest: float) -> float:
        return self._schedule.next_due(monotonic(), longest)

    async def make_due(self, lease: Optional[Lease], goes_on: Callable[[], bool]) -> None:
        for sweep in self._schedule.take_due(monotonic()):
            if not goes_on():
                return
            await self._make(sweep, lease)

    async def _make(self, sweep: Sweep, lease: Optional[Lease]) -> None:
        outage = self._outages[sweep]
        try:
            is_left = await self._makes[sweep](lease)
        except StaleLeaseError:
            raise
        except PASSING as error:
            # The ticks meet it too, and say it.
            self._reach.note(is_reached=False, now=monotonic())
            _logger.debug("the sweep %s failed: %s", sweep, error)
        except Exception as error:  # noqa: BLE001 - one sweep must not end the others, or the loop
            outage.begin(error)
        else:
            self._reach.note(is_reached=True, now=monotonic())
            outage.end()
            if is_left:
                self._schedule.repeat_soon(sweep, monotonic())


class Sweeper:
    """Makes sweeps for the loops of one process; give all of them the same, on one database.

    What is for the whole database is then made once per interval, and not once for each group.
    """

    def __init__(
        self,
        scheduler: SchedulerRepository,
        *,
        agents: Optional[AgentRepository] = None,
        lifecycle: Optional[LifecycleRepository] = None,
        audit: Optional[AuditRepository] = None,
        sweeps: Optional[Sweeps] = None,
    ) -> None:
        """Make those sweeps that have a repository, as often as ``sweeps`` says; raises InvalidWiring."""
        check_wiring(scheduler, SchedulerRepository, "scheduler", "SchedulerRepository(db_source)")
        if agents is not None:
            check_wiring(agents, AgentRepository, "agents", "AgentRepository(db_source)")
        if lifecycle is not None:
            check_wiring(lifecycle, LifecycleRepository, "lifecycle", "LifecycleRepository(db_source)")
        if audit is not None:
            check_wiring(audit, AuditRepository, "audit", "AuditRepository(db_source)")
        sweeps = Sweeps() if sweeps is None else sweeps
        check_wiring(sweeps, Sweeps, "sweeps", "Sweeps(...)")
        self.sweeps = sweeps
        self.scheduler = scheduler
        self.agents = agents
        self.lifecycle = lifecycle
        self._audit = audit
        self._findings = 0
        makes: dict[Sweep, _Make] = {Sweep.FOLD: self._fold, Sweep.TRIM: self._trim}
        if audit is not None:
            makes[Sweep.AUDIT] = partial(self._find_drift, audit)
        # A gap is of no concern to these.
        self.of_the_database = _Round(sweeps.of_the_database(), makes, "the database", Reach(0.0))

    async def _fold(self, _: Optional[Lease]) -> bool:
        folded = await self.scheduler.fold_usage()
        return folded is not None and folded >= FOLDED_AT_ONCE

    async def _trim(self, _: Optional[Lease]) -> bool:
        trimmed = await self.scheduler.trim_changes(batch_size=MAX_BATCH_SIZE)
        return trimmed is not None and trimmed >= MAX_BATCH_SIZE

    async def _find_drift(self, audit: AuditRepository, _: Optional[Lease]) -> bool:
        report = await audit.audit()
        show_audit(report)
        found = len(report.findings)
        if found != self._findings:
            _logger.warning("the audit of the database has %d findings; see scheduler-repo audit", found)
        self._findings = found
        return False


class GroupSweeps:
    """The sweeps of one loop: those of its group, and those of the database that are due when it looks."""

    def __init__(
        self, sweeper: Sweeper, scaling_group: ScalingGroupName, start_comparison: Optional[Callable[[], None]]
    ) -> None:
        self._sweeper = sweeper
        self._group = scaling_group
        silence = sweeper.sweeps.longest_silence
        # Whoever looks less often does not know whether heartbeats could come meanwhile.
        self.reach = Reach(0.0 if silence is None else silence / 2)
        makes: dict[Sweep, _Make] = {}
        if sweeper.agents is not None:
            makes[Sweep.LOST_AGENTS] = partial(self._mark_lost, sweeper.agents)
        if sweeper.lifecycle is not None:
            makes[Sweep.LOST_SESSIONS] = partial(self._recover, sweeper.lifecycle)
            makes[Sweep.PENDING_TIMEOUTS] = partial(self._cancel_pending, sweeper.lifecycle)
        if start_comparison is not None:
            makes[Sweep.COMPARE] = partial(self._compare, start_comparison)
        of_whom = f"scaling group {quoted(scaling_group)}"
        self._of_the_group = _Round(sweeper.sweeps.of_a_group(), makes, of_whom, self.reach)

    @property
    def errors(self) -> int:
        """How many failures no success has followed yet, of all its sweeps."""
        return self._of_the_group.errors + self._sweeper.of_the_database.errors

    def next_due(self, longest: float) -> float:
        """How many seconds to wait for the next sweep that is due, ``longest`` at most."""
        return min(self._of_the_group.next_due(longest), self._sweeper.of_the_database.next_due(longest))

    async def make_due(self, lease: Optional[Lease], goes_on: Callable[[], bool]) -> None:
        """Make the sweeps that are due, one after the other, while ``goes_on`` says so.

        Raises StaleLeaseError; other failures are logged.
        """
        await self._of_the_group.make_due(lease, goes_on)
        await self._sweeper.of_the_database.make_due(lease, goes_on)

    async def _mark_lost(self, agents: AgentRepository, lease: Optional[Lease]) -> bool:
        silence = self._sweeper.sweeps.longest_silence
        if silence is None:
            return False
        if not self.reach.has_lasted(silence, monotonic()):
            # Nobody could be heard of while the database was away. This asks it, which is what counts here.
            await self._sweeper.scheduler.fold_usage()
            return False
        result = await agents.mark_lost_agents(self._group, timedelta(seconds=silence), lease=lease)
        if result.changed:
            _logger.warning(
                "agents of scaling group %s are lost, silent for %g s: %s",
                quoted(self._group),
                silence,
                shortened(", ".join(sorted(result.changed)), _LONGEST_LIST),
            )
        return False

    async def _recover(self, lifecycle: LifecycleRepository, lease: Optional[Lease]) -> bool:
        action = self._sweeper.sweeps.recovery
        result = await lifecycle.recover_lost_sessions(self._group, action, _MOST_AT_ONCE, lease=lease)
        if result.requeued or result.failed:
            _logger.warning(
                "sessions of scaling group %s were on lost agents: %d are in the queue again, %d have failed",
                quoted(self._group),
                len(result.requeued),
                len(result.failed),
            )
        return bool(result.requeued or result.failed)

    async def _cancel_pending(self, lifecycle: LifecycleRepository, lease: Optional[Lease]) -> bool:
        result = await lifecycle.sweep_pending_sessions(self._group, _MOST_AT_ONCE, lease=lease)
        if result.changed:
            _logger.info(
                "%d sessions of scaling group %s were pending for longer than it allows, and are cancelled",
                len(result.changed),
                quoted(self._group),
            )
        return len(result.changed) >= _MOST_AT_ONCE

    async def _compare(self, start_comparison: Callable[[], None], _: Optional[Lease]) -> bool:
        start_comparison()
        return False
