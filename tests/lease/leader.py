"""A scheduler in a process of its own: it acquires the lease, then allocates sessions as it is told.

It reads their numbers. It says the epoch, then what came of each: ``allocated``, ``rejected`` or the error.
"""

import asyncio
import sys
from datetime import timedelta

from scheduler_repo.database.engine import create_engine
from scheduler_repo.errors import SchedulerRepoError
from scheduler_repo.repositories.lease.db_source import LeaseDBSource
from scheduler_repo.repositories.lease.repository import LeaseRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import LeaseHolder
from tests.support.small_cluster import GROUP, place

HOLDER = LeaseHolder("leader")
# The tests end it sooner.
TTL = timedelta(seconds=600)


def _say(*words: object) -> None:
    print(*words, flush=True)


async def lead(url: str, agent_id: str, idle_seconds: float) -> None:
    """Hold the lease and allocate until the input ends; the lease is acquired once and never renewed."""
    engine = create_engine(
        DatabaseSettings(url=SecretUrl(url), pool_size=1, idle_in_transaction_timeout=idle_seconds)
    )
    lease = await LeaseRepository(LeaseDBSource(engine)).acquire_lease(GROUP, HOLDER, TTL)
    _say("epoch", lease.epoch)
    while line := await asyncio.to_thread(sys.stdin.readline):
        try:
            result = await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(
                GROUP, [place(int(line), agent_id)], lease=lease
            )
        except SchedulerRepoError as error:
            _say(type(error).__name__)
        else:
            _say("allocated" if result.allocated else "rejected")
    await engine.dispose()


def main(url: str, agent_id: str, idle_seconds: str) -> None:
    """Lead until the input ends; the server keeps its transaction for so long while it is stopped."""
    asyncio.run(lead(url, agent_id, float(idle_seconds)))
