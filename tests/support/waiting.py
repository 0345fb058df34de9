"""Waiting until others wait."""

import asyncio

from tests.support.databases import DriverConnection

_BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


async def until_blocked(connection: DriverConnection, count: int) -> None:
    """Return when so many connections to this database wait for a lock."""
    async with asyncio.timeout(20):
        while await connection.fetchval(_BLOCKED) < count:
            await connection.execute("SELECT pg_sleep(0.01)")
