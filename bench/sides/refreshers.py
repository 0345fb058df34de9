"""Sides of bringing a state up to date: by what has changed since it was read or stored, and by reading it."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import redis.asyncio as redis_asyncio
from sqlalchemy.ext.asyncio import AsyncEngine

from bench.data.cluster import GROUP
from bench.data.place import Place
from bench.measure.results import ENGINE, FLOOR, PLAIN
from bench.measure.turns import Side
from bench.sides.plain_reads import PlainState, read_by_orm
from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.entities.snapshot_changes import Refresh
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource, TimedSchedulingData
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.settings import CacheSettings, SecretUrl
from scheduler_repo.testing.databases import DriverConnection

FULL: Final = "full"
# Between two stores of a base, much longer than a turn takes; and for one command, so that no turn fails by it.
_LIFETIME: Final = 3_600.0
_REDIS_TIMEOUT: Final = 5.0
# A full read takes many times as long, and varies as little.
_FULL_TURNS: Final = 5
# What an allocation and an end change of their rows, without agents: these are a few rows, whatever runs.
_ALLOCATE: Final = """
WITH chosen AS (
    SELECT id FROM sessions
    WHERE scaling_group = $1 AND status = 'PENDING'
    ORDER BY md5(id::text || $3)
    LIMIT $2
), placed AS (
    UPDATE kernels AS k
    SET status = 'SCHEDULED', occupied_slots = requested_slots,
        agent_id = (SELECT id FROM agents WHERE scaling_group = $1 ORDER BY md5(id || k.id::text) LIMIT 1)
    WHERE session_id IN (SELECT id FROM chosen) AND status = 'PENDING'
)
UPDATE sessions SET status = 'SCHEDULED', status_changed_at = now() WHERE id IN (SELECT id FROM chosen)
"""
_ENQUEUE_AGAIN: Final = """
WITH chosen AS (
    SELECT id FROM sessions
    WHERE scaling_group = $1 AND status = 'SCHEDULED'
    ORDER BY status_changed_at DESC
    LIMIT $2
), freed AS (
    UPDATE kernels SET status = 'PENDING', occupied_slots = '{}', agent_id = NULL
    WHERE session_id IN (SELECT id FROM chosen)
)
UPDATE sessions SET status = 'PENDING' WHERE id IN (SELECT id FROM chosen)
"""


class Refreshers:
    """Changes some sessions before each turn, and brings what is held up to date in it."""

    def __init__(
        self, engine: ExtendedAsyncSAEngine, plain_engine: AsyncEngine, writer: DriverConnection
    ) -> None:
        """Made by ``open_refreshers``."""
        self._plain_engine = plain_engine
        self._engine = engine
        self._writer = writer
        self.source = SchedulerDBSource(engine)
        self._changes = 0
        self.tracker = SnapshotTracker(self.source)

    async def refresh(self) -> Refresh:
        """Answer from what is held and what has changed; raises RuntimeError if it was a full read."""
        refresh = await self.tracker.get_scheduling_data(GROUP)
        if refresh.reason is not None:
            raise RuntimeError(f"all was read: {refresh.reason}")
        return refresh

    async def read(self) -> TimedSchedulingData:
        """Read everything."""
        return await self.source.get_scheduling_data(GROUP)

    async def read_plainly(self) -> PlainState:
        """Read everything the plain way, which knows no other."""
        return await read_by_orm(self._plain_engine, GROUP, None)

    async def hold(self) -> None:
        """Begin to hold the group's state, with its index."""
        await self.tracker.get_scheduling_data(GROUP)
        await self.change(1)
        await self.refresh()

    async def count_pending(self) -> int:
        """Count the pending sessions that are held."""
        return len((await self.tracker.get_scheduling_data(GROUP)).data.pending_sessions)

    async def hold_anew(self) -> SnapshotTracker:
        """Return another tracker that holds the group's state with its index, to be weighed."""
        tracker = SnapshotTracker(self.source)
        await tracker.get_scheduling_data(GROUP)
        await self.change(1)
        await tracker.get_scheduling_data(GROUP)
        return tracker

    async def change(self, count: int) -> None:
        """Place so many pending sessions, or put those back that were placed so."""
        self._changes += 1
        statement = _ALLOCATE if self._changes % 2 else _ENQUEUE_AGAIN
        arguments = (GROUP, count, str(self._changes))[: 3 if self._changes % 2 else 2]
        await self._writer.execute(statement, *arguments)

    def sides(self, changes: int) -> dict[str, Side]:
        """Return a refresh after so many changes, beside a full read and a SELECT 1 in a transaction.

        The plain way reads everything, whatever has changed: it is beside the refresh after no change alone,
        as it takes half a minute of a long queue.
        """

        async def change() -> None:
            # Other sides have changed the same group.
            await self.tracker.get_scheduling_data(GROUP)
            if changes:
                await self.change(changes)

        async def select() -> None:
            async with self._engine.begin_readonly_session() as db_sess:
                await driver_connection(db_sess).fetchval("SELECT 1")

        sides = {
            FLOOR: Side(select),
            ENGINE: Side(self.refresh, before=change),
            FULL: Side(self.read, turns=_FULL_TURNS),
        }
        return sides if changes else {**sides, PLAIN: Side(self.read_plainly, turns=1)}


class Beginners:
    """Processes that begin with nothing: from the base in Redis and what has changed since it was stored."""

    def __init__(self, refreshers: Refreshers, client: ValkeyClient) -> None:
        """Made by ``open_beginners``."""
        self._refreshers = refreshers
        self._client = client

    async def store(self) -> None:
        """Store the group's state as it is."""
        source = SchedulerCacheSource(self._client, self._refreshers.source, lifetime=_LIFETIME)
        tracker = SnapshotTracker(self._refreshers.source, source)
        await self._client.remove((f"scheduler_repo:scheduling_data:{GROUP}",))
        await tracker.get_scheduling_data(GROUP)
        if not await tracker.store_base(GROUP):
            raise RuntimeError("the state of the group was not stored")
        await source.aclose()

    async def begin(self) -> SnapshotTracker:
        """Answer with nothing held; raises RuntimeError if that was a full read."""
        source = SchedulerCacheSource(self._client, self._refreshers.source, lifetime=_LIFETIME)
        tracker = SnapshotTracker(self._refreshers.source, source)
        refresh = await tracker.get_scheduling_data(GROUP)
        if refresh.reason is not None:
            raise RuntimeError(f"all was read: {refresh.reason}")
        # To free it again is no part of a beginning.
        return tracker

    def sides(self, changes: int) -> dict[str, Side]:
        """Return a beginning after so many changes, beside a full read and a SELECT 1 in a transaction."""

        async def prepare() -> None:
            await self.store()
            await self._refreshers.change(changes)

        sides = self._refreshers.sides(changes)
        return {**sides, ENGINE: Side(self.begin, before=prepare)}


@asynccontextmanager
async def open_beginners(
    place: Place, redis_url: str, on_redis: Callable[[redis_asyncio.Redis], None] = lambda client: None
) -> AsyncIterator[Beginners]:
    """Connect to a place and to Redis."""
    redis = create_redis(CacheSettings(url=SecretUrl(redis_url), timeout=_REDIS_TIMEOUT))
    on_redis(redis)
    client = ValkeyClient(redis, timeout=_REDIS_TIMEOUT)
    try:
        async with open_refreshers(place) as refreshers:
            yield Beginners(refreshers, client)
    finally:
        await client.aclose()


@asynccontextmanager
async def open_refreshers(place: Place) -> AsyncIterator[Refreshers]:
    """Connect to a place and hold the state of its group."""
    async with place.engine() as engine, place.plain_engine() as plain, place.driver() as writer:
        refreshers = Refreshers(engine, plain, writer)
        await refreshers.hold()
        yield refreshers
