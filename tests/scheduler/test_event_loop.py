"""A read of a large group neither blocks the event loop for long nor makes the process grow much."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from scheduler_repo.cache.client import ValkeyClient, create_redis
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.cache_source import SchedulerCacheSource
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.scheduling.snapshot.build import build_scheduling_data
from scheduler_repo.settings import CacheSettings, DatabaseSettings, SecretUrl
from scheduler_repo.steps import CHUNK_ROWS
from scheduler_repo.workload.synthetic import DEFAULT_SCALING_GROUP, synthetic_queue
from tests.support.databases import OWNER, SCHEDULER, Database, DatabaseServer
from tests.support.loop_blocks import watch_blocks
from tests.support.past_and_present import run_sessions
from tests.support.waiting import PATIENCE

KERNELS_PER_SESSION = 1.6
# The part of a read's own time for which it may keep the loop. Built in one piece, it keeps it for a quarter.
MOST = 0.1
TRIES = 3
ROOT = Path(__file__).parents[2]


class Size(NamedTuple):
    """Of a cluster, and by how many bytes at most a process grows that reads it."""

    pending: int
    running: int
    agents: int
    most_growth: int


SMALL = Size(2_000, 1_000, 200, 10 * 2**20)
LARGE = Size(10_000, 5_000, 1_000, 40 * 2**20)


@pytest.fixture(scope="module")
def databases(
    postgres_server: DatabaseServer, migrated_template: Database
) -> Iterator[Callable[[Size], Database]]:
    """Makes a database for each size: sessions of 1.6 kernels of 3 slots each, agents without history."""
    made: dict[Size, Database] = {}

    async def make(size: Size) -> Database:
        database = await postgres_server.create_database(migrated_template)
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
        sessions = size.pending + size.running
        cluster = synthetic_queue(size.agents, sessions, int(sessions * KERNELS_PER_SESSION))
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster)
        await engine.dispose()
        async with database.driver_as(OWNER) as connection:
            await run_sessions(connection, size.running)
            await connection.execute("ANALYZE")
        return database

    def have(size: Size) -> Database:
        if size not in made:
            made[size] = asyncio.run(make(size))
        return made[size]

    yield have
    for database in made.values():
        asyncio.run(postgres_server.drop_database(database))


@pytest.fixture
def database(databases: Callable[[Size], Database], size: Size) -> Database:
    """The database of a size."""
    return databases(size)


class TestEventLoop:
    @pytest.fixture
    async def engine(self, database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
        engine = create_engine(DatabaseSettings(url=SecretUrl(database.url_as(SCHEDULER))))
        yield engine
        await engine.dispose()

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [LARGE])
    async def test_never_blocked_for_long(self, engine: ExtendedAsyncSAEngine, size: Size) -> None:
        # given
        db_source = SchedulerDBSource(engine)
        data = (await db_source.get_scheduling_data(DEFAULT_SCALING_GROUP)).data
        assert len(data.pending_sessions) == size.pending
        assert sum(len(session.kernels) for session in data.pending_sessions) > 1.5 * size.pending
        assert len(data.agents) == size.agents
        # when
        reads = [await watch_blocks(db_source.get_scheduling_data(DEFAULT_SCALING_GROUP)) for _ in range(TRIES)]
        # then: the machine may make one turn long, not one of each read
        assert min(read.longest / read.total for read in reads) <= MOST

    @pytest.mark.slow
    @pytest.mark.parametrize("size", [LARGE])
    async def test_never_blocked_for_long_by_storing_and_beginning(
        self, engine: ExtendedAsyncSAEngine, size: Size, redis_url: str
    ) -> None:
        """What takes long at once is left to threads: compression, digests."""
        db_source = SchedulerDBSource(engine)
        client = ValkeyClient(create_redis(CacheSettings(url=SecretUrl(redis_url))), timeout=PATIENCE)
        # What is held goes in one turn, when its caller lets go of it.
        held: list[SnapshotTracker] = []

        async def store() -> None:
            await client.remove((f"scheduler_repo:scheduling_data:{DEFAULT_SCALING_GROUP}",))
            source = SchedulerCacheSource(client, db_source)
            held.append(tracker := SnapshotTracker(db_source, source))
            await tracker.get_scheduling_data(DEFAULT_SCALING_GROUP)
            assert await tracker.store_base(DEFAULT_SCALING_GROUP)
            await source.drain()

        async def begin() -> None:
            source = SchedulerCacheSource(client, db_source)
            held.append(tracker := SnapshotTracker(db_source, source))
            refresh = await tracker.get_scheduling_data(DEFAULT_SCALING_GROUP)
            assert (refresh.reason, len(refresh.data.pending_sessions)) == (None, size.pending)

        for work in (store, begin):
            blocks = [await watch_blocks(work()) for _ in range(TRIES)]
            assert min(each.longest / each.total for each in blocks) <= MOST
        await client.aclose()

    @pytest.mark.parametrize("size", [SMALL])
    async def test_transform_is_cut_into_chunks(self, engine: ExtendedAsyncSAEngine, size: Size) -> None:
        # given
        async with engine.begin_readonly_session() as db_sess:
            raw = await SchedulerDBSource(engine).fetch_raw_scheduling_data(
                db_sess, DEFAULT_SCALING_GROUP, None
            )
        # when
        steps = sum(1 for _ in build_scheduling_data(raw))
        # then
        assert steps >= size.pending / CHUNK_ROWS


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of a process is read from /proc")
class TestMemory:
    @pytest.mark.parametrize("size", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)])
    async def test_process_grows_by_little(self, database: Database, size: Size) -> None:
        # given
        url = database.url_as(SCHEDULER)
        # when
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.scheduler.memory_of_one_read",
            url,
            DEFAULT_SCALING_GROUP,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
        # then
        assert process.returncode == 0
        held, highest = map(int, output.split())
        assert 2**20 < held < size.most_growth
        assert highest < size.most_growth, f"{highest / 2**20:.1f} MiB"
