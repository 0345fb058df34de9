"""Waiting for what others do; nothing that must come is given up because the machine is busy."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from scheduler_repo.cache.client import DEFAULT_TIMEOUT, ValkeyClient
from tests.support.databases import DriverConnection

# Seconds that what must come has: more than a busy machine keeps a test waiting, less than pytest waits for it.
PATIENCE: Final = 60.0

_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


async def until_blocked(connection: DriverConnection, count: int) -> None:
    """Return when so many connections to this database wait for a lock."""
    async with asyncio.timeout(PATIENCE):
        while await connection.fetchval(_BLOCKED) < count:
            await connection.execute("SELECT pg_sleep(0.01)")


async def until(condition: Callable[[], bool]) -> None:
    """Return when something is so that other tasks of this process make so, and nothing announces."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.002)


@contextmanager
def hurried(*clients: ValkeyClient, seconds: float = DEFAULT_TIMEOUT) -> Iterator[None]:
    """Have patient clients of a cache wait so long only, while its server does not answer."""
    patience = [client._commands._timeout for client in clients]
    for client in clients:
        client._commands._timeout = seconds
    try:
        yield
    finally:
        for client, before in zip(clients, patience, strict=True):
            client._commands._timeout = before
