"""The scheduler loop: read the state of a group, decide, write the decision back."""

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from time import monotonic, perf_counter
from typing import Optional

import msgspec

from scheduler_repo.cache.single_flight import BackgroundTasks
from scheduler_repo.entities.allocation import RejectedAllocation, SessionAllocation
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.errors import InvalidInput, InvalidWiring, SchedulerRepoError, StaleLeaseError
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.dispatching import HandOff
from scheduler_repo.loop.pacing import RunSettings
from scheduler_repo.loop.running import Run
from scheduler_repo.loop.state import LoopState
from scheduler_repo.loop.sweeping import FOLDED_AT_ONCE, GroupSweeps, Sweeper
from scheduler_repo.loop.tick import BatchProgress, Tick, TickTimes
from scheduler_repo.metrics.ticks import count_batch, count_tick, observe_phase, show_audit, show_pending
from scheduler_repo.planning import PlanRunner
from scheduler_repo.quoting import get_logger, quoted
from scheduler_repo.repositories.audit.repository import AuditRepository
from scheduler_repo.repositories.scheduler.db_source import TimedSchedulingData
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.planner.checks import check_planner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.signals import called_on_sigusr2
from scheduler_repo.types import ScalingGroupName, SessionId, TransactionId
from scheduler_repo.validation import MAX_BATCH_SIZE, Limit31, check_range
from scheduler_repo.wiring import check_wiring

# A batch holds its locks for some 100 ms; a longer one would keep other writers waiting.
DEFAULT_BATCH_SIZE = 1_000
DEFAULT_AUDIT_EVERY = 100
# How often what is logged of changes is folded and trimmed at most, in seconds.
_FOLD_EVERY = 1.0
_TRIM_EVERY = 60.0
# What others log of other groups is not seen here, and is folded at the latest then.
_LONGEST_UNFOLDED = 60.0

_logger = get_logger(__name__)


class SchedulerLoop:
    """Runs the ticks of one scaling group: read a snapshot, plan, write the plan under guards."""

    def __init__(
        self,
        repository: SchedulerRepository,
        planner: Planner,
        scaling_group: ScalingGroupName,
        *,
        batch_size: int = DEFAULT_BATCH_SIZE,
        on_batch: Optional[Callable[[BatchProgress], None]] = None,
        lease_keeper: Optional[LeaseKeeper] = None,
        audit: Optional[AuditRepository] = None,
        audit_every: int = DEFAULT_AUDIT_EVERY,
        tracker: Optional[SnapshotTracker] = None,
        full_reads: bool = False,
        compare_every: Optional[int] = None,
    ) -> None:
        """Write ``batch_size`` sessions per transaction and call ``on_batch`` after each.

        With ``lease_keeper``, run the loop inside its block: every write then names its lease. With ``audit``,
        the database is audited every ``audit_every`` ticks and the findings are exported as the metric
        scheduler_repo_audit_findings.

        A tick reads what has changed since the one before, by a tracker: one of the loop's own, or
        ``tracker``, of the same database; ``full_reads`` has each tick read everything instead, and holds
        nothing. A planner that takes what has changed (``IncrementalPlanner``) plans from that. With
        ``compare_every``, every so many ticks begin a comparison with everything read and planned anew. Raises
        InvalidInput for a number below 1, and InvalidWiring for a part of another kind, such as a planner's
        class for an object of it, or for ``full_reads`` beside ``tracker`` or ``compare_every``.
        """
        check_wiring(repository, SchedulerRepository, "repository", "SchedulerRepository(db_source)")
        check_planner(planner)
        if lease_keeper is not None:
            check_wiring(lease_keeper, LeaseKeeper, "lease_keeper", "LeaseKeeper(repository, group, holder)")
        if audit is not None:
            check_wiring(audit, AuditRepository, "audit", "AuditRepository(db_source)")
        if tracker is not None:
            check_wiring(tracker, SnapshotTracker, "tracker", "repository.make_tracker()")
            if full_reads:
                raise InvalidWiring(
                    "tracker is given beside full_reads, which holds nothing; leave one of them out"
                )
        elif not full_reads:
            tracker = repository.make_tracker(max_groups=1)
        check_range(batch_size, Limit31, "batch_size")
        check_range(audit_every, Limit31, "audit_every")
        if compare_every is not None:
            check_range(compare_every, Limit31, "compare_every")
            _require_tracker(tracker)
        observer: object = on_batch
        if observer is not None and (not callable(observer) or inspect.iscoroutinefunction(observer)):
            raise InvalidWiring(f"on_batch is {quoted(observer)}; give a plain function of one BatchProgress")
        self._repository = repository
        self._planning = PlanRunner(planner, scaling_group)
        self._scaling_group = scaling_group
        self._batch_size = batch_size
        self._on_batch = on_batch
        self._lease_keeper = lease_keeper
        self._audit = audit
        self._audit_every = audit_every
        self._tracker = tracker
        self._compare_every = compare_every
        self._comparisons = BackgroundTasks()
        self._is_plan_compared = False
        self._ticks = 0
        # What runs this loop, and what that says of itself, still when it has ended.
        self._run: Optional[Run] = None
        self._last_state = LoopState.before_run(scaling_group)
        self._fold_at = self._fold_anyway_at = self._trim_at = monotonic()
        self._has_changed_since_fold = False

    async def tick(self) -> Tick:
        """Read, plan and write once.

        The plan runs in a thread and does not block the event loop. Raises ScalingGroupNotFound, the errors of
        the database layer, and StaleLeaseError if there is something to write and another process has taken
        over the lease (``reacquire()`` it and tick again); batches written before an error stay written. Costs
        a read, a write per batch, and what of these is due: the audit's statements, ``fold_usage`` once a
        second, and where nothing changes once a minute, once a minute ``trim_changes``, with a cache
        ``SnapshotTracker.store_base``. Exports metrics scheduler_repo_*.
        """
        with count_tick(self._scaling_group):
            keeper = self._lease_keeper
            if keeper is None:
                return await self._tick(None)
            # Name the lease held before the read: it fences every decision made on that read.
            lease = keeper.lease
            try:
                return await self._tick(lease)
            except StaleLeaseError as error:
                keeper.lost(lease, error)
                raise

    async def run(
        self,
        stop: asyncio.Event,
        *,
        settings: Optional[RunSettings] = None,
        sweeper: Optional[Sweeper] = None,
        hand_off: Optional[HandOff] = None,
        on_tick: Optional[Callable[[Tick], None]] = None,
    ) -> None:
        """Tick whenever something has changed, and at the intervals of ``settings``, until ``stop`` is set.

        With ``lease_keeper`` it waits for the lease, leads, and gives it back at the end. With ``sweeper``, its
        sweeps are made beside the ticks, and folding and trimming with them. With ``hand_off``, what is
        allocated is handed to a dispatcher, from what is found at the start on. ``on_tick`` gets every tick
        that went well. ``state`` says how it goes.

        Whatever fails is logged once when it begins and once when it is over, and tried again. Only what no
        waiting mends is raised: ScalingGroupNotFound, StaleLeaseError if another process took the lease under
        the same holder's name, EngineClosed, WrongEventLoop, InvalidWiring, and InvalidInput for a second run
        at the same time. After ``stop`` it ends within ``stop_timeout`` and a few seconds: a tick that takes
        longer is rolled back. A cancel ends it at once.
        """
        settings = RunSettings() if settings is None else settings
        check_wiring(settings, RunSettings, "settings", "RunSettings(...)")
        check_wiring(stop, asyncio.Event, "stop", "asyncio.Event()")
        if sweeper is not None:
            check_wiring(sweeper, Sweeper, "sweeper", "Sweeper(repos.scheduler, ...)")
        if hand_off is not None:
            check_wiring(hand_off, HandOff, "hand_off", "HandOff(repos.lifecycle, dispatcher)")
        if self._run is not None:
            raise InvalidInput(f"the loop of {quoted(self._scaling_group)} runs already; make one for each run")
        sweeps = None
        if sweeper is not None:
            compare = None if self._tracker is None else self.start_comparison
            sweeps = GroupSweeps(sweeper, self._scaling_group, compare)
        run = self._run = Run(
            self._scaling_group,
            self.tick,
            partial(self._repository.wait_for_changes, self._scaling_group),
            stop=stop,
            settings=settings,
            keeper=self._lease_keeper,
            sweeps=sweeps,
            hand_off=hand_off,
            on_tick=on_tick,
        )
        try:
            await run.run()
        finally:
            self._run, self._last_state = None, run.state
            await self._comparisons.cancel()

    @property
    def state(self) -> LoopState:
        """How the run goes, or went; costs nothing, and may be asked from any thread."""
        run = self._run
        return self._last_state if run is None else run.state

    async def _tick(self, lease: Optional[Lease]) -> Tick:
        keeper = self._lease_keeper
        leads = None if keeper is None or lease is None else partial(keeper.leads_under, lease)
        timed, refresh = await self._read()
        if refresh is None or refresh.changes is None or refresh.changes:
            self._has_changed_since_fold = True
        self._ticks += 1
        if self._compare_every is not None and self._ticks % self._compare_every == 0:
            self.start_comparison()
        show_pending(self._scaling_group, len(timed.data.pending_sessions), leads)
        started = perf_counter()
        run = self._run
        plan_timeout = None if run is None else run.settings.plan_timeout
        plan = await self._planning.plan(timed.data, refresh, timeout=plan_timeout)
        planned = perf_counter()
        if self._is_plan_compared:
            self._is_plan_compared = False
            self._comparisons.start(self._planning.compare(timed.data, plan))
        written = await self._write(timed.data, plan, lease)
        write_seconds = perf_counter() - planned
        times = TickTimes(timed.read_seconds, timed.transform_seconds, planned - started, write_seconds)
        for phase in times.__struct_fields__:
            observe_phase(self._scaling_group, phase, getattr(times, phase))
        report = None
        if self._audit is not None and self._ticks % self._audit_every == 0:
            report = await self._audit.audit()
            show_audit(report, leads)
        if run is None or not run.makes_sweeps:
            await self._keep_log_short()
        allocated, rejected, transaction_ids = written
        if run is not None:
            # Who ticks by hand has the rejections; a loop that runs would go on like this unheard.
            self._planning.check_places(timed.data, rejected)
        await self._store_base(transaction_ids)
        return Tick(self._ticks, timed.data, allocated, rejected, times, report, transaction_ids)

    async def _read(self) -> tuple[TimedSchedulingData, Optional[Refresh]]:
        if self._tracker is None:
            return await self._repository.get_timed_scheduling_data(self._scaling_group), None
        refresh = await self._tracker.get_scheduling_data(self._scaling_group)
        return TimedSchedulingData(refresh.data, refresh.read_seconds, refresh.transform_seconds), refresh

    def start_comparison(self) -> None:
        """Begin to compare what the tracker holds with a full read, beside the ticks, unless one is under way.

        The next plan that is made from what has changed is compared with one made from everything, too. What
        comes of it is logged and counted, and raises nothing (``SnapshotTracker.compare``). Raises
        InvalidWiring for a loop of ``full_reads``.
        """
        tracker = _require_tracker(self._tracker)
        if not self._comparisons:
            self._comparisons.start(tracker.compare(self._scaling_group))
            self._is_plan_compared = self._planning.is_comparable()

    async def finish_comparison(self) -> None:
        """Wait for the comparison that is under way, if there is one."""
        await self._comparisons.drain()

    @contextmanager
    def comparing_on_signal(self) -> Iterator[None]:
        """Begin a comparison whenever the process gets SIGUSR2, while the block runs.

        What handled the signal before handles it again afterwards. Raises InvalidWiring for a loop of
        ``full_reads``, and outside of the main thread.
        """
        _require_tracker(self._tracker)
        with called_on_sigusr2(self.start_comparison):
            yield

    async def run_until_settled(self) -> tuple[Tick, ...]:
        """Tick until a tick places nothing; the last tick's data shows which sessions still wait.

        The data of the ticks before comes without its sessions and agents, which would take much memory.

        Ends on a busy group too: sessions rejected because another writer was first are not retried for ever. A
        plan whose sessions are all rejected ends the run, so a planner should not offer one session alone.
        """
        ticks = [await self.tick()]
        while ticks[-1].allocated:
            data = msgspec.structs.replace(ticks[-1].data, pending_sessions=(), agents=())
            ticks[-1] = msgspec.structs.replace(ticks[-1], data=data)
            ticks.append(await self.tick())
        await self.finish_comparison()
        return tuple(ticks)

    async def _keep_log_short(self) -> None:
        """Fold and trim what is logged of changes, if it is time; what fails is tried again the next time."""
        now = monotonic()
        try:
            if now >= self._fold_at and (self._has_changed_since_fold or now >= self._fold_anyway_at):
                self._fold_at = now + _FOLD_EVERY
                folded = await self._repository.fold_usage()
                self._fold_anyway_at = now + _LONGEST_UNFOLDED
                self._has_changed_since_fold = folded is None or folded >= FOLDED_AT_ONCE
            if now >= self._trim_at:
                self._trim_at = now + _TRIM_EVERY
                trimmed = await self._repository.trim_changes(batch_size=MAX_BATCH_SIZE)
                if trimmed is not None and trimmed >= MAX_BATCH_SIZE:
                    # There is more; in a minute as much again may have been written.
                    self._trim_at = now + _FOLD_EVERY
        except SchedulerRepoError as error:
            _logger.warning(
                "what is logged of changes was not folded and trimmed, which costs time alone: %s", error
            )

    async def _store_base(self, written: tuple[TransactionId, ...]) -> None:
        """Have the group's state stored for processes that start, with all that was written, if it is time."""
        if self._tracker is None:
            return
        try:
            await self._tracker.store_base(self._scaling_group, after=written)
        except SchedulerRepoError as error:
            _logger.warning("the state of the group was not stored in Redis, which costs time alone: %s", error)

    async def _write(
        self, data: SchedulingData, plan: Sequence[SessionAllocation], lease: Optional[Lease]
    ) -> tuple[tuple[SessionId, ...], tuple[RejectedAllocation, ...], tuple[TransactionId, ...]]:
        allocated: list[SessionId] = []
        rejected: list[RejectedAllocation] = []
        transaction_ids: list[TransactionId] = []
        for start in range(0, len(plan), self._batch_size):
            batch = plan[start : start + self._batch_size]
            result = await self._repository.allocate_sessions(self._scaling_group, batch, lease=lease)
            count_batch(self._scaling_group, len(result.allocated), result.rejected)
            allocated.extend(result.allocated)
            rejected.extend(result.rejected)
            if result.transaction_id is not None:
                transaction_ids.append(result.transaction_id)
            if self._run is not None:
                self._run.note_step(has_allocated=bool(result.allocated))
            if self._on_batch is not None:
                pending = len(data.pending_sessions) - len(allocated)
                self._on_batch(BatchProgress(self._ticks, pending, len(plan), len(allocated), len(rejected)))
        return tuple(allocated), tuple(rejected), tuple(transaction_ids)


def _require_tracker(tracker: Optional[SnapshotTracker]) -> SnapshotTracker:
    if tracker is None:
        raise InvalidWiring(
            "a comparison is asked for, and a loop of full reads holds nothing to compare; leave full_reads out"
        )
    return tracker
