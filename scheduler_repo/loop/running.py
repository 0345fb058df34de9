"""Runs a loop until it is stopped: leads, ticks, waits, backs off; sweeps and hands off beside the ticks."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Optional

from scheduler_repo.entities.lease import Lease
from scheduler_repo.errors import (
    DatabaseTimeout,
    EngineClosed,
    InvalidInput,
    InvalidSettings,
    InvalidWiring,
    LeaseHeld,
    ScalingGroupNotFound,
    StaleLeaseError,
    WrongEventLoop,
)
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.dispatching import HandOff
from scheduler_repo.loop.pacing import Backoff, RunSettings, Stopping
from scheduler_repo.loop.state import LoopPhase, LoopState
from scheduler_repo.loop.sweeping import GroupSweeps
from scheduler_repo.loop.telling import Tellings
from scheduler_repo.loop.tick import Tick
from scheduler_repo.outages import PASSING, Outage, describe_failure
from scheduler_repo.quoting import get_logger, quoted
from scheduler_repo.types import ScalingGroupName

# What no waiting mends.
_LASTING: Final = (ScalingGroupNotFound, EngineClosed, WrongEventLoop, InvalidWiring, InvalidSettings)
# What was allocated by others is looked for so often, in seconds.
_LIST_EVERY: Final = 30.0
_LOOK_EVERY: Final = 1.0
# A public call of a repository may take a minute, with what it tries again; a tick makes several.
_SLOWEST_STEP: Final = 300.0
_LAST_SECONDS: Final = 2.0
# A dispatcher that failed so many calls of a round has a pause.
_MOST_FAILURES: Final = 3

_logger = get_logger(__name__)


class Run:
    """One run of a loop."""

    def __init__(
        self,
        scaling_group: ScalingGroupName,
        tick: Callable[[], Coroutine[None, None, Tick]],
        wait: Callable[[float], Coroutine[None, None, bool]],
        *,
        stop: asyncio.Event,
        settings: RunSettings,
        keeper: Optional[LeaseKeeper],
        sweeps: Optional[GroupSweeps],
        hand_off: Optional[HandOff],
        on_tick: Optional[Callable[[Tick], None]],
    ) -> None:
        """``wait`` waits for changes, for so many seconds at most."""
        self._group = scaling_group
        self._tick = tick
        self._wait = wait
        self._stopping = Stopping(stop)
        self.settings = settings
        self._keeper = keeper
        self._sweeps = sweeps
        self._hand_off = hand_off
        self._on_tick = on_tick
        self._phase = LoopPhase.STARTING
        self._backoff = Backoff(settings.first_backoff, settings.longest_backoff)
        name = quoted(scaling_group)
        self._outage = Outage(_logger, f"the scheduling of scaling group {name}")
        self._dispatch_outage = Outage(_logger, f"the dispatch of sessions of scaling group {name}")
        self._callback_outage = Outage(_logger, f"on_tick of scaling group {name}")
        self._tellings = Tellings(Backoff(settings.first_backoff, settings.longest_backoff))
        self._list_backoff = Backoff(settings.first_backoff, settings.longest_backoff)
        self._to_dispatch = asyncio.Event()
        # The database is away, as the last tick has found: whatever else asks it finds that too.
        self._is_cut_off = False
        self._ticks = 0
        self._last_tick_at: Optional[datetime] = None
        self._step_at = monotonic()

    def note_step(self, *, has_allocated: bool = False) -> None:
        """Note a step; what it has allocated is handed off, also where the rest of the tick fails."""
        self._step_at = monotonic()
        if has_allocated:
            self._to_dispatch.set()

    @property
    def makes_sweeps(self) -> bool:
        """Whether sweeps are made, folding and trimming among them."""
        return self._sweeps is not None

    @property
    def state(self) -> LoopState:
        """Describe the run as it is now."""
        settings = self.settings
        slowest = max(settings.interval, settings.longest_backoff, settings.plan_timeout)
        return LoopState(
            scaling_group=self._group,
            phase=self._phase,
            ticks=self._ticks,
            last_tick_at=self._last_tick_at,
            consecutive_errors=self._outage.failures,
            last_error=self._outage.last_error,
            dispatch_errors=self._dispatch_outage.failures,
            sweep_errors=0 if self._sweeps is None else self._sweeps.errors,
            idle_for=monotonic() - self._step_at,
            may_idle_for=slowest + _SLOWEST_STEP,
        )

    async def run(self) -> None:
        """Run until the stop; raises what no waiting mends."""
        beside = [asyncio.create_task(self._keep_at(work)) for work in (self._sweep, self._dispatch)]
        try:
            await self._lead_and_tick()
        finally:
            self._phase = LoopPhase.STOPPED
            await self._end(beside)

    async def _end(self, beside: "list[asyncio.Task[None]]") -> None:
        # After a stop they end by themselves, within its bound; after an error, or a cancel, they are ended.
        if self._stopping.is_set:
            await asyncio.wait(beside, timeout=self.settings.stop_timeout + _LAST_SECONDS)
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        if self._keeper is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST_SECONDS):
                    await self._keeper.release()
        _logger.info("scaling group %s is not scheduled by this process any more", quoted(self._group))

    async def _lead_and_tick(self) -> None:
        while not self._stopping.is_set:
            self.note_step()
            try:
                pause = await self._step()
            except _LASTING:
                raise
            except StaleLeaseError as error:
                if self._keeper is not None and self._keeper.taken is not None:
                    raise self._keeper.taken from error
                _logger.warning("the lease of scaling group %s is lost: %s", quoted(self._group), error)
                self._phase = LoopPhase.WAITING
                pause = self._backoff.next_wait()
            except LeaseHeld as error:
                pause = self._note_held(error)
            except Exception as error:  # noqa: BLE001 - whatever a planner raises, the loop goes on
                pause = self._note_failure(error)
            await self._stopping.pause(pause)

    async def _step(self) -> float:
        """Lead, tick once and wait for changes; return how long to wait before the next step."""
        keeper = self._keeper
        if keeper is not None and not keeper.leads():
            # Not given up at once: a lease that was acquired is to be released.
            lease = await self._stopping.finish(_acquire(keeper), self.settings.stop_timeout)
            if lease is None or self._stopping.is_set:
                return 0.0
            _logger.info("this process leads scaling group %s, epoch %d", quoted(self._group), lease.epoch)
            self._to_dispatch.set()
        if self._ticks == 0:
            self._to_dispatch.set()
        tick = await self._stopping.finish(self._tick(), self.settings.stop_timeout)
        if tick is None:
            _logger.warning("the tick of scaling group %s was stopped, and rolled back", quoted(self._group))
            return 0.0
        self._note_success(tick)
        # More may fit where something was placed, as after a planner that places some at a time.
        if not tick.allocated and not self._stopping.is_set:
            await self._stopping.give_up(self._wait_for_work())
        return self.settings.shortest_pause

    async def _wait_for_work(self) -> None:
        """Wait for changes, for the interval, or until the lease is lost, which another may have taken."""
        tasks: list[asyncio.Task[object]] = [asyncio.create_task(self._wait(self.settings.interval))]
        if self._keeper is not None:
            tasks.append(asyncio.create_task(self._keeper.wait_until_lost()))
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def _note_success(self, tick: Tick) -> None:
        self._phase = LoopPhase.LEADING
        self._is_cut_off = False
        self._ticks += 1
        self._last_tick_at = datetime.now(UTC)
        self._backoff.reset()
        self._outage.end()
        self._note_reach(is_reached=True)
        if self._on_tick is None:
            return
        try:
            self._on_tick(tick)
        except Exception as error:  # noqa: BLE001 - whoever watches the ticks must not stop them
            self._callback_outage.begin(error)
        else:
            self._callback_outage.end()

    def _note_held(self, held: LeaseHeld) -> float:
        if self._phase is not LoopPhase.WAITING:
            _logger.info("scaling group %s is led by another process: %s", quoted(self._group), held)
        self._phase = LoopPhase.WAITING
        self._is_cut_off = False
        self._backoff.reset()
        self._outage.end()
        self._note_reach(is_reached=True)
        return self.settings.interval if self._keeper is None else self._keeper.pause_after(held)

    def _note_failure(self, error: Exception) -> float:
        self._phase = LoopPhase.BACKING_OFF
        self._is_cut_off = isinstance(error, PASSING)
        self._outage.begin(error)
        if isinstance(error, (*PASSING, DatabaseTimeout)):
            self._note_reach(is_reached=False)
        return self._backoff.next_wait()

    def _note_reach(self, *, is_reached: bool) -> None:
        if self._sweeps is not None:
            self._sweeps.reach.note(is_reached=is_reached, now=monotonic())

    def _leads(self) -> bool:
        return self._keeper is None or self._keeper.leads()

    def _goes_on(self) -> bool:
        return self._leads() and not self._stopping.is_set and not self._is_cut_off

    async def _keep_at(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Do work that goes on until the stop; nothing that it did not foresee may end it before."""
        while True:
            try:
                return await work()
            except Exception as error:  # noqa: BLE001 - unheard of, sessions would not be dispatched any more
                _logger.error(
                    "%s of scaling group %s begins anew after: %s",
                    work.__name__.strip("_"),
                    quoted(self._group),
                    describe_failure(error),
                )
                await self._stopping.pause(self.settings.longest_backoff)

    async def _sweep(self) -> None:
        """Make sweeps while this process leads."""
        sweeps = self._sweeps
        if sweeps is None:
            return
        while not self._stopping.is_set:
            if self._goes_on():
                lease = None if self._keeper is None else self._keeper.lease
                try:
                    await self._stopping.finish(
                        sweeps.make_due(lease, self._goes_on), self.settings.stop_timeout
                    )
                except StaleLeaseError as error:
                    self._note_lost(lease, error)
            await self._stopping.pause(sweeps.next_due(_LOOK_EVERY))

    async def _dispatch(self) -> None:
        """Hand off what is allocated, as it is, while this process leads."""
        hand_off = self._hand_off
        if hand_off is None:
            return
        while not self._stopping.is_set:
            seconds = self._tellings.next_due(monotonic(), _LIST_EVERY)
            await self._stopping.give_up(self._to_dispatch.wait(), seconds)
            self._to_dispatch.clear()
            if not self._goes_on():
                if self._is_cut_off:
                    self._to_dispatch.set()
                    await self._stopping.pause(self._list_backoff.next_wait())
                continue
            is_listed = await self._stopping.finish(self._dispatch_once(hand_off), self.settings.stop_timeout)
            if is_listed is False:
                self._to_dispatch.set()
                await self._stopping.pause(self._list_backoff.next_wait())

    async def _dispatch_once(self, hand_off: HandOff) -> bool:
        """Have all told that is due; False if it could not be listed."""
        lease = None if self._keeper is None else self._keeper.lease
        try:
            sessions = await hand_off.list_sessions(self._group)
        except Exception as error:  # noqa: BLE001 - the ticks go on
            self._note_dispatch_failure(error)
            return False
        self._list_backoff.reset()
        failures = 0
        for batch in self._tellings.choose(sessions, monotonic()):
            if not self._goes_on() or failures == _MOST_FAILURES:
                return True
            try:
                await hand_off.hand_off(batch, lease)
            except StaleLeaseError as error:
                self._note_lost(lease, error)
                return True
            except Exception as error:  # noqa: BLE001 - whatever a dispatcher raises, the ticks go on
                failures += 1
                self._tellings.note_failed(batch, monotonic())
                self._note_dispatch_failure(error)
            else:
                self._tellings.note_told(batch)
        if not failures and not self._tellings.is_failing:
            self._dispatch_outage.end()
        return True

    def _note_dispatch_failure(self, error: Exception) -> None:
        if isinstance(error, PASSING):
            # The ticks meet it too, and say it.
            _logger.debug("sessions of scaling group %s were not dispatched: %s", self._group, error)
        else:
            self._dispatch_outage.begin(error)

    def _note_lost(self, lease: Optional[Lease], error: StaleLeaseError) -> None:
        # The next step of the ticks acquires it again, and says what became of it.
        if self._keeper is not None and lease is not None:
            self._keeper.lost(lease, error)


async def _acquire(keeper: LeaseKeeper) -> Lease:
    """Acquire the lease; raises InvalidWiring for a ttl or a name that no later try would find right."""
    try:
        return await keeper.acquire()
    except InvalidInput as error:
        raise InvalidWiring(f"the lease keeper cannot acquire the lease: {error}") from error
