"""The law of a loop that runs, whatever its ticks and its lease do, in a time that passes by itself."""

import asyncio
import logging
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Final, NamedTuple, Optional, TypeVar, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.errors import (
    DatabaseTimeout,
    DatabaseUnavailable,
    EngineClosed,
    LeaseHeld,
    PlannerFailed,
    ScalingGroupNotFound,
    SchemaMismatch,
    StaleLeaseError,
)
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.pacing import RunSettings
from scheduler_repo.loop.running import Run
from scheduler_repo.loop.state import LoopPhase
from scheduler_repo.loop.tick import Tick, TickTimes
from scheduler_repo.types import LeaseHolder
from tests.support.small_cluster import GROUP, session_id

T = TypeVar("T")

SETTINGS: Final = RunSettings(
    interval=10.0, shortest_pause=0.05, first_backoff=0.2, longest_backoff=30.0, stop_timeout=5.0
)
HELD_FOR: Final = 3.0
# The end of a run may wait for its tick and for what is cancelled.
STOP_WITHIN: Final = SETTINGS.stop_timeout + 0.001

DATABASE: Final = (DatabaseUnavailable("gone"), DatabaseTimeout("slow"))
PASSING: Final = (*DATABASE, PlannerFailed("hangs"), SchemaMismatch("newer"), ZeroDivisionError("bug"))
LASTING: Final = (ScalingGroupNotFound("none"), EngineClosed("closed"))


class Does(NamedTuple):
    """What a tick does: how long it takes, and what comes of it."""

    takes: float
    places: bool = False
    raises: Optional[Exception] = None
    is_stale: bool = False


ticks = st.builds(
    Does,
    takes=st.sampled_from((0.0, 0.01, 2.0, 60.0)),
    places=st.booleans(),
    raises=st.none() | st.sampled_from((*PASSING, *LASTING)),
    is_stale=st.booleans(),
)
leases = st.none() | st.sampled_from((LeaseHeld("another", held_for=timedelta(seconds=HELD_FOR)), *PASSING))
# What ends a wait for changes: a change, or the interval.
wakes = st.none() | st.sampled_from((0.0, 0.02, 4.0))


class Script(NamedTuple):
    """What happens, in turn; at the end of a list all goes well and nothing changes."""

    ticks: list[Does]
    leases: list[Optional[Exception]]
    wakes: list[Optional[float]]
    stops_at: float


scripts = st.builds(
    Script,
    ticks=st.lists(ticks, max_size=12),
    leases=st.lists(leases, max_size=6),
    wakes=st.lists(wakes, max_size=12),
    stops_at=st.sampled_from((0.0, 0.3, 7.0, 100.0, 1_000.0)),
)


class _PassingTime(selectors.DefaultSelector):
    """Waits for nothing, and lets the time go on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: Optional[float] = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout:
            self.now += timeout
        assert timeout is not None, "the run waits for what never comes"
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which an hour takes no time."""

    def __init__(self) -> None:
        self._passing = _PassingTime()
        super().__init__(self._passing)

    def time(self) -> float:
        """What the selector says."""
        return self._passing.now


class Try(NamedTuple):
    """A tick, or a try for the lease: when it began and ended, and what it raised."""

    is_tick: bool
    began: float
    ended: float
    error: Optional[BaseException]


class World:
    """Ticks and a lease that follow a script, and what was seen of them."""

    def __init__(self, script: Script) -> None:
        self.ticks, self.leases, self.wakes = list(script.ticks), list(script.leases), list(script.wakes)
        self.holds = False
        self.epoch = 0
        self.taken: Optional[StaleLeaseError] = None
        self.tries: list[Try] = []
        self.released = 0

    async def tick(self) -> Tick:
        """Do what is next."""
        assert self.holds, "a tick without the lease"
        does = self.ticks.pop(0) if self.ticks else Does(0.01)
        return await self._note(self._do(does), is_tick=True)

    async def _do(self, does: Does) -> Tick:
        await asyncio.sleep(does.takes)
        if does.is_stale:
            self.holds = False
            raise StaleLeaseError("lost")
        if does.raises is not None:
            raise does.raises
        allocated = (session_id(1),) if does.places else ()
        return Tick(1, cast("SchedulingData", None), allocated, (), TickTimes(0.0, 0.0, 0.0, 0.0))

    async def acquire(self) -> Lease:
        """Have the lease, unless something else is next."""
        return await self._note(self._acquire(), is_tick=False)

    async def _acquire(self) -> Lease:
        await asyncio.sleep(0.001)
        failure = self.leases.pop(0) if self.leases else None
        if failure is not None:
            raise failure
        self.holds, self.epoch = True, self.epoch + 1
        now = datetime.now(UTC)
        return Lease(GROUP, LeaseHolder("ada"), self.epoch, now, now)

    async def wait(self, seconds: float) -> bool:
        """Wait for what wakes the loop."""
        wake = self.wakes.pop(0) if self.wakes else None
        await asyncio.sleep(seconds if wake is None else min(wake, seconds))
        return wake is not None

    async def wait_until_lost(self) -> None:
        """Wait for what does not happen between ticks."""
        await asyncio.Event().wait()

    def leads(self) -> bool:
        """As a keeper says it."""
        return self.holds

    def pause_after(self, held: LeaseHeld) -> float:
        """As a keeper says it."""
        assert held.held_for is not None
        return held.held_for.total_seconds()

    async def release(self) -> None:
        """As a keeper does it."""
        self.released += 1
        self.holds = False

    async def _note(self, work: Coroutine[None, None, T], *, is_tick: bool) -> T:
        event_loop = asyncio.get_running_loop()
        began = event_loop.time()
        error: Optional[BaseException] = None
        try:
            return await work
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.tries.append(Try(is_tick, began, event_loop.time(), error))


class Lines(logging.Handler):
    """How many beginnings and ends of outages are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.began = self.ended = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line."""
        self.began += "failed, and goes on being tried" in record.getMessage()
        self.ended += "succeeded again" in record.getMessage()


def kind_of(error: BaseException) -> str:
    """What is said apart: the ways in which a database is away are one."""
    return "database" if isinstance(error, tuple(map(type, DATABASE))) else type(error).__name__


def is_failure(each: Try) -> bool:
    """Whether it is a failure that waiting mends, and no matter of the lease."""
    others = (StaleLeaseError, LeaseHeld, asyncio.CancelledError, *map(type, LASTING))
    return each.error is not None and not isinstance(each.error, others)


def expected_lines(tries: list[Try]) -> tuple[int, int]:
    """Each kind is said once in an outage, and its end once."""
    said: set[str] = set()
    began = ended = 0
    for each in tries:
        if each.error is not None and is_failure(each):
            began += kind_of(each.error) not in said
            said.add(kind_of(each.error))
        elif isinstance(each.error, LeaseHeld) or (each.is_tick and each.error is None):
            ended += bool(said)
            said.clear()
    return began, ended


async def drive(script: Script, world: World) -> tuple[Run, float, Optional[BaseException]]:
    """Run a script until it is stopped, and say when it ended and what it raised."""
    event_loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    run = Run(
        GROUP,
        world.tick,
        world.wait,
        stop=stop,
        settings=SETTINGS,
        keeper=cast("LeaseKeeper", world),
        sweeps=None,
        hand_off=None,
        on_tick=None,
    )
    event_loop.call_later(script.stops_at, stop.set)
    (outcome,) = await asyncio.gather(run.run(), return_exceptions=True)
    return run, event_loop.time(), outcome


class TestLaw:
    @settings(max_examples=100)
    @given(script=scripts)
    def test_whatever_happens(self, script: Script) -> None:
        world, lines = World(script), Lines()
        logger = logging.getLogger("scheduler_repo.loop.running")
        level = logger.level
        logger.setLevel(logging.INFO)
        logger.addHandler(lines)
        try:
            with asyncio.Runner(loop_factory=VirtualLoop) as runner:
                run, ended_at, outcome = runner.run(drive(script, world))
        finally:
            logger.removeHandler(lines)
            logger.setLevel(level)
        # It ends by what lasts, or by the stop and soon after, and gives the lease back.
        lasting = [each.error for each in world.tries if isinstance(each.error, tuple(map(type, LASTING)))]
        assert ([outcome] if outcome is not None else []) == lasting[:1]
        assert outcome is not None or script.stops_at <= ended_at <= script.stops_at + STOP_WITHIN
        assert run.state.phase is LoopPhase.STOPPED
        assert world.released == 1
        # What fails is said once, and its end too.
        assert (lines.began, lines.ended) == expected_lines(world.tries)
        failures = 0
        for each, following in pairwise(world.tries):
            pause = following.began - each.ended
            failures = failures + 1 if is_failure(each) or isinstance(each.error, StaleLeaseError) else failures
            if is_failure(each) or isinstance(each.error, StaleLeaseError):
                # After failures it waits for longer and longer, up to the bound.
                whole = min(SETTINGS.first_backoff * 2 ** (failures - 1), SETTINGS.longest_backoff)
                assert whole / 2 - 0.001 <= pause <= whole + 0.001
            elif isinstance(each.error, LeaseHeld):
                failures = 0
                assert pause <= HELD_FOR + 0.001
            elif each.is_tick:
                # Else it ticks again soon, at the interval at the latest.
                failures = 0
                assert SETTINGS.shortest_pause - 0.001 <= pause
                assert pause <= SETTINGS.interval + SETTINGS.shortest_pause + 0.001
