"""Several groups in one process: a busy one does not hold up the others."""

import asyncio
from contextlib import AsyncExitStack
from statistics import median, quantiles
from time import perf_counter
from typing import Final

import msgspec
import pytest

from scheduler_repo.connection import open_repositories
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.loop.tick import Tick
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from tests.loop.churn import GROUPS, cluster_of
from tests.loop.running import SETTINGS, running
from tests.support.databases import SCHEDULER, Database
from tests.support.program import running as running_program
from tests.support.waiting import until

TIMES_THE_MEDIAN: Final = 3
# In some of them the machine has nothing else to do.
ROUNDS: Final = 12
TICKS: Final = 1_000


class TimedLoop(SchedulerLoop):
    """Notes how long each tick takes, from its beginning to its end."""

    def note(self, seconds: list[float]) -> None:
        """Note the ticks from now on."""
        self.seconds = seconds

    async def tick(self) -> Tick:
        """Tick, timed."""
        began = perf_counter()
        tick = await super().tick()
        self.seconds.append(perf_counter() - began)
        return tick


@pytest.mark.slow
class TestTenGroups:
    async def test_the_slowest_ticks_of_idle_ones_beside_a_busy_one(self, migrated_database: Database) -> None:
        """One in a hundred takes less than three times the usual one."""
        url = migrated_database.url_as(SCHEDULER)
        async with open_repositories(url, pool_size=20) as repos, AsyncExitStack() as stack:
            for number in range(len(GROUPS)):
                await repos.cluster.load_cluster(cluster_of(number))
            busy, *idle = [TimedLoop(repos.scheduler, BestFitPlanner(), group) for group in GROUPS]
            sweeper = Sweeper(repos.scheduler, agents=repos.agents, lifecycle=repos.lifecycle)
            settings = msgspec.structs.replace(SETTINGS, interval=0.1, shortest_pause=0.02)
            for loop in (busy, *idle):
                loop.note([])
                run = await stack.enter_async_context(running(repos, loop, settings=settings, sweeper=sweeper))
                # All is placed that can be.
                while (await run.next_tick()).allocated:
                    pass
            await stack.enter_async_context(running_program("tests.loop.churn", url))
            figures = []
            for _ in range(ROUNDS):
                seconds: list[float] = []
                for loop in idle:
                    loop.note(seconds)
                placed = busy.state.ticks
                await until(lambda: len(seconds) >= TICKS)  # noqa: B023 - it is awaited here
                usual, slow = median(seconds), quantiles(seconds, n=100)[98]
                figures.append(slow / usual)
                print(
                    f"ticks of idle groups: median {usual * 1000:.1f} ms, p99 {slow * 1000:.1f} ms, "
                    f"{slow / usual:.2f} x; {busy.state.ticks - placed} ticks of the busy one meanwhile"
                )
                if slow < TIMES_THE_MEDIAN * usual:
                    break
                await asyncio.sleep(0)
            assert min(figures) < TIMES_THE_MEDIAN
