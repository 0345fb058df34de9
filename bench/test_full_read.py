"""The full read of one tick, from the statement to SchedulingData.

Gates are ratios within one run: engine over the raw driver. What the plain way takes is shown beside them.
"""

import asyncio
from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.databases import GROUP, BenchDatabase, add_sessions
from bench.floor import DriverFloor
from bench.plain_way import read_by_orm
from bench.turns import medians_in_turns
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl

ROUNDS = 25


class Readers:
    """The ways to read one database."""

    def __init__(self, runner: asyncio.Runner, database: BenchDatabase) -> None:
        self._runner = runner
        self.engine: ExtendedAsyncSAEngine = create_engine(DatabaseSettings(url=SecretUrl(database.url)))
        self.repository = SchedulerRepository(SchedulerDBSource(self.engine))
        self.floor = runner.run(DriverFloor.connect(database.dsn, GROUP))

    async def read_by_engine(self) -> object:
        return await self.repository.get_scheduling_data(GROUP)

    async def read_by_orm(self) -> object:
        return await read_by_orm(self.engine, GROUP)

    def close(self) -> None:
        self._runner.run(self.floor.close())
        self._runner.run(self.engine.dispose())


@pytest.fixture
def readers(runner: asyncio.Runner, full_queue: BenchDatabase) -> Iterator[Readers]:
    readers = Readers(runner, full_queue)
    yield readers
    readers.close()


class TestTimes:
    """Each way by itself, for the table."""

    def test_raw_driver(self, benchmark: BenchmarkFixture, runner: asyncio.Runner, readers: Readers) -> None:
        benchmark.group = "full read, 10,000 pending"
        benchmark.pedantic(lambda: runner.run(readers.floor.read()), rounds=ROUNDS, warmup_rounds=1)

    def test_engine(self, benchmark: BenchmarkFixture, runner: asyncio.Runner, readers: Readers) -> None:
        benchmark.group = "full read, 10,000 pending"
        benchmark.pedantic(lambda: runner.run(readers.read_by_engine()), rounds=ROUNDS, warmup_rounds=1)

    def test_plain_way(self, benchmark: BenchmarkFixture, runner: asyncio.Runner, readers: Readers) -> None:
        benchmark.group = "full read, 10,000 pending"
        benchmark.pedantic(lambda: runner.run(readers.read_by_orm()), rounds=3, warmup_rounds=1)


class TestRatios:
    """What must hold, in turns within one run."""

    def test_engine_is_near_the_raw_driver(self, runner: asyncio.Runner, readers: Readers) -> None:
        times = runner.run(
            medians_in_turns({"driver": readers.floor.read, "engine": readers.read_by_engine}, ROUNDS)
        )
        print(f"\ndriver {times['driver']:.1f} ms, engine {times['engine']:.1f} ms", _ratio(times))
        assert times["engine"] <= 1.8 * times["driver"]

    def test_every_row_is_read_by_both(self, runner: asyncio.Runner, readers: Readers) -> None:
        data = runner.run(readers.repository.get_scheduling_data(GROUP))
        rows = runner.run(readers.floor.read())
        assert len(data.pending_sessions) == 10_000
        assert sum(len(session.kernels) for session in data.pending_sessions) == 16_000
        assert all(agent.occupied == agent.occupied_by_kernels for agent in data.agents)
        assert {10_000, 16_000, 1_000} <= {len(fetched) for fetched in rows}
        assert runner.run(read_by_orm(readers.engine, GROUP)) == 16_000

    def test_it_stays_linear(self, runner: asyncio.Runner, readers: Readers, long_queue: BenchDatabase) -> None:
        long = Readers(runner, long_queue)
        alternatives = {"10,000": readers.read_by_engine, "50,000": long.read_by_engine}
        times = runner.run(medians_in_turns(alternatives, 9))
        long.close()
        growth = times["50,000"] / times["10,000"]
        print(f"\n10,000 {times['10,000']:.1f} ms, 50,000 {times['50,000']:.1f} ms, {growth:.2f} times")
        # Five times the queue; a little more, as it no longer fits the processor's caches.
        assert growth <= 6.5

    def test_history_costs_nothing(
        self, runner: asyncio.Runner, server: EmbeddedPostgres, full_queue: BenchDatabase
    ) -> None:
        readers = Readers(runner, full_queue)
        before = runner.run(
            medians_in_turns({"driver": readers.floor.read, "engine": readers.read_by_engine}, ROUNDS)
        )
        readers.close()
        runner.run(add_sessions(server, full_queue, 1_000_000, "TERMINATED"))
        readers = Readers(runner, full_queue)
        after = runner.run(
            medians_in_turns({"driver": readers.floor.read, "engine": readers.read_by_engine}, ROUNDS)
        )
        readers.close()
        print(f"\n100,000 finished {before['engine']:.1f} ms, 1,100,000 finished {after['engine']:.1f} ms")
        assert after["engine"] <= 1.1 * before["engine"]


def _ratio(times: dict[str, float]) -> str:
    return f"{times['engine'] / times['driver']:.2f}"
