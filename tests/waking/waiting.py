"""What tests of waits need: who waits, who listens at the server, and what is heard there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from scheduler_repo.connection import Repositories
from scheduler_repo.database.notifications import CHANNEL
from scheduler_repo.types import ScalingGroupName
from tests.support.databases import ADMIN, Database
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

# Longer than any test: whoever waits so long was not woken.
LONG = PATIENCE
SHORT = 0.02
_LISTENERS = f"FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%{CHANNEL}%'"
COUNT_LISTENERS = f"SELECT count(*) {_LISTENERS}"
KILL_LISTENERS = f"SELECT pg_terminate_backend(pid) {_LISTENERS}"


async def settle(repositories: Repositories, group: ScalingGroupName = GROUP) -> None:
    """Take what may have been missed before it listened."""
    assert await repositories.scheduler.wait_for_changes(group, LONG)
    assert not await repositories.scheduler.wait_for_changes(group, SHORT)


def waiting(repositories: Repositories, group: ScalingGroupName = GROUP) -> "asyncio.Task[bool]":
    """A wait that has begun when others get their turn."""
    return asyncio.create_task(repositories.scheduler.wait_for_changes(group, LONG))


async def count_listeners(database: Database) -> int:
    async with database.driver_as(ADMIN) as driver:
        count: int = await driver.fetchval(COUNT_LISTENERS)
    return count


@asynccontextmanager
async def heard_at(database: Database) -> AsyncIterator["asyncio.Queue[str]"]:
    """Every notification that the server sends meanwhile."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    def note(_driver: "asyncpg.Connection[asyncpg.Record]", _pid: int, _channel: str, payload: object) -> None:
        heard.put_nowait(str(payload))

    async with database.driver_as(ADMIN) as driver:
        await driver.add_listener(CHANNEL, note)
        yield heard
        await driver.remove_listener(CHANNEL, note)


async def until_no_listener(database: Database) -> None:
    """A server process that was left ends soon; nothing announces it."""
    async with asyncio.timeout(PATIENCE):
        while await count_listeners(database):  # noqa: ASYNC110
            await asyncio.sleep(SHORT)
