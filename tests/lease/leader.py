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
TTL = timedelta(seconds=2)
IDLE_SECONDS = 1.0


def _say(*words: object) -> None:
    print(*words, flush=True)


async def lead(url: str, agent_id: str) -> None:
    """Hold the lease and allocate until the input ends; the lease is acquired once and never renewed."""
    engine = create_engine(
        DatabaseSettings(url=SecretUrl(url), pool_size=1, idle_in_transaction_timeout=IDLE_SECONDS)
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


def main(url: str, agent_id: str) -> None:
    """Lead until the input ends."""
    asyncio.run(lead(url, agent_id))
