"""Print by how many bytes a fresh process grows over one read: at its end, and at its highest.

Run as a program: URL of the database, scaling group.
"""

import asyncio
import gc
import sys
from pathlib import Path

import psutil

from scheduler_repo.database.engine import create_engine
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName


def highest_so_far() -> int:
    """The most memory of this program alone; getrusage() also counts the process that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").split()
    return int(status[status.index("VmHWM:") + 1]) * 1024


async def measure(url: str, group: ScalingGroupName) -> tuple[int, int]:
    """The growth while the answer is held, and the highest on the way."""
    engine = create_engine(DatabaseSettings(url=SecretUrl(url)))
    db_source = SchedulerDBSource(engine)
    # Modules, connection and prepared statements cost their share once.
    await db_source.get_scheduling_data(group, pending_limit=1)
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    answer = await db_source.get_scheduling_data(group)
    gc.collect()
    after = process.memory_info().rss
    highest = highest_so_far()
    assert answer.data.pending_sessions
    await engine.dispose()
    return after - before, highest - before


if __name__ == "__main__":
    print(*asyncio.run(measure(sys.argv[1], ScalingGroupName(sys.argv[2]))))
