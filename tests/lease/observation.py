"""What the tests see of leases, and of what was written, from outside."""

import asyncio
from typing import Final

from scheduler_repo.types import ScalingGroupName
from tests.support.databases import DriverConnection
from tests.support.small_cluster import GROUP
from tests.support.waiting import PATIENCE

_TABLES: Final = """
SELECT tablename FROM pg_tables WHERE schemaname = current_schema() ORDER BY tablename
"""


async def expire(owner: DriverConnection, scaling_group: ScalingGroupName = GROUP) -> None:
    """Have a group's lease end now, as if its time had passed."""
    await owner.execute(
        "UPDATE scheduler_leases SET expires_at = clock_timestamp() WHERE scaling_group = $1", scaling_group
    )


async def wait_until_expired(owner: DriverConnection, scaling_group: ScalingGroupName = GROUP) -> None:
    """Wait until a group's lease has expired by the database's clock."""
    expired = "SELECT expires_at <= clock_timestamp() FROM scheduler_leases WHERE scaling_group = $1"
    async with asyncio.timeout(PATIENCE):
        while not await owner.fetchval(expired, scaling_group):
            await owner.execute("SELECT pg_sleep(0.01)")


async def all_rows(owner: DriverConnection) -> dict[str, list[str]]:
    """Every row of every table but the leases, as text."""
    rows = {}
    for (table,) in await owner.fetch(_TABLES):
        if table != "scheduler_leases":
            texts = await owner.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")
            rows[table] = [text[0] for text in texts]
    assert "operations" in rows
    return rows
