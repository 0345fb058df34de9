"""A loop that runs in the background of a test, and a dispatcher that notes what it is told."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import Optional

from scheduler_repo.connection import Repositories
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.loop.dispatching import Dispatcher, HandOff
from scheduler_repo.loop.pacing import RunSettings
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.loop.tick import Tick
from scheduler_repo.types import SessionId
from tests.support.waiting import PATIENCE

# Nothing waits for an interval: what is to come is woken, or tried again at once.
SETTINGS = RunSettings(
    interval=3_600, shortest_pause=0.001, first_backoff=0.001, longest_backoff=0.01, stop_timeout=PATIENCE
)


class Telling:
    """A dispatcher that notes what it is told, and does what a test has it do."""

    def __init__(self) -> None:
        self.told: Counter[SessionId] = Counter()
        self.calls: asyncio.Queue[Sequence[UndispatchedSession]] = asyncio.Queue()
        self.failures: list[Exception] = []

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Tell, or fail in the way that is next."""
        self.calls.put_nowait(sessions)
        if self.failures:
            raise self.failures.pop(0)
        self.told.update(each.session_id for each in sessions)
        return [each.session_id for each in sessions]

    async def next_call(self) -> Sequence[UndispatchedSession]:
        """Wait until it is told of sessions."""
        async with asyncio.timeout(PATIENCE):
            return await self.calls.get()


class Running:
    """A loop that runs."""

    def __init__(self, loop: SchedulerLoop) -> None:
        self.loop = loop
        self.stop = asyncio.Event()
        self.ticks: asyncio.Queue[Tick] = asyncio.Queue()
        self.task: Optional[asyncio.Task[None]] = None

    async def next_tick(self) -> Tick:
        """Wait for the next tick that goes well."""
        async with asyncio.timeout(PATIENCE):
            return await self.ticks.get()

    async def end(self) -> None:
        """Wait until the run has ended; raises what it raises."""
        assert self.task is not None
        async with asyncio.timeout(PATIENCE):
            await self.task


@asynccontextmanager
async def running(
    repos: Repositories,
    loop: SchedulerLoop,
    *,
    settings: RunSettings = SETTINGS,
    sweeper: Optional[Sweeper] = None,
    dispatcher: Optional[Dispatcher] = None,
    dispatch_timeout: float = PATIENCE,
) -> AsyncIterator[Running]:
    """Run a loop until the end of the block, where it is stopped."""
    run = Running(loop)
    run.task = asyncio.create_task(
        loop.run(
            run.stop,
            settings=settings,
            sweeper=sweeper,
            hand_off=None
            if dispatcher is None
            else HandOff(repos.lifecycle, dispatcher, timeout=dispatch_timeout),
            on_tick=run.ticks.put_nowait,
        )
    )
    try:
        yield run
    finally:
        run.stop.set()
        await asyncio.wait([run.task], timeout=PATIENCE)
    assert run.task.done()
