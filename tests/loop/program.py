"""A scheduler in a process of its own, which runs until SIGTERM and says what it does.

It says ``leads`` when a tick has gone well, and ``told SESSION ATTEMPT`` for each session that its dispatcher
is told of.
"""

import asyncio
import signal
from collections.abc import Collection, Sequence
from datetime import timedelta

from scheduler_repo.connection import open_repositories
from scheduler_repo.entities.lifecycle import UndispatchedSession
from scheduler_repo.leadership import LeaseKeeper
from scheduler_repo.loop.dispatching import HandOff
from scheduler_repo.loop.scheduler_loop import SchedulerLoop
from scheduler_repo.loop.sweeping import Sweeper
from scheduler_repo.loop.tick import Tick
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import LeaseHolder, SessionId
from tests.support.small_cluster import GROUP


class Saying:
    """A dispatcher that says what it is told."""

    async def dispatch(self, sessions: Sequence[UndispatchedSession]) -> Collection[SessionId]:
        """Say each session and attempt."""
        for each in sessions:
            print("told", each.session_id, each.retry_count, flush=True)
            await asyncio.sleep(0)
        return [each.session_id for each in sessions]


def say_that_it_leads(_: Tick) -> None:
    """Say it, at every tick that goes well."""
    print("leads", flush=True)


async def schedule(url: str, holder: str, ttl: float) -> None:
    """Run until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_repositories(url, application_name=holder, idle_in_transaction_timeout=ttl / 2) as repos:
        keeper = LeaseKeeper(repos.leases, GROUP, LeaseHolder(holder), timedelta(seconds=ttl))
        loop = SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP, lease_keeper=keeper)
        await loop.run(
            stop,
            sweeper=Sweeper(repos.scheduler, agents=repos.agents, lifecycle=repos.lifecycle),
            hand_off=HandOff(repos.lifecycle, Saying()),
            on_tick=say_that_it_leads,
        )


def main(url: str, holder: str, ttl: str) -> None:
    """Run until SIGTERM, with a lease of so many seconds."""
    asyncio.run(schedule(url, holder, float(ttl)))
