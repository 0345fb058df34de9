"""The writes, against the bare UPDATEs of the same rows and the plain way, on one database in one run."""

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from statistics import median
from time import perf_counter

import msgspec
import pytest
import sqlalchemy as sa

from bench.bare_updates import BareUpdates
from bench.bulk_sessions import BulkTimes, bulk_spec, run_all
from bench.databases import GROUP, BenchDatabase, add_sessions, make_database, run_as_admin
from bench.plain_writes import place_by_orm
from scheduler_repo.database.engine import create_engine
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.lifecycle import SessionEnd
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.settings import DatabaseSettings, SecretUrl

BATCH = 1_000
PLAIN_BATCH = 100
ROUNDS = 11

# Everything as before the batch; what the placed sessions added is taken away again.
_UNDO = """
UPDATE agent_slots AS s SET occupied = s.occupied - k.amount
FROM (SELECT agent_id, position, sum(amount)::bigint AS amount
      FROM kernels, unnest(occupied_slots) WITH ORDINALITY AS o (amount, position)
      WHERE status = 'SCHEDULED' GROUP BY 1, 2) AS k
JOIN slot_types AS t ON t.slot_index = k.position - 1
WHERE s.agent_id = k.agent_id AND s.slot_name = t.name;
UPDATE agents AS a SET container_count = a.container_count - k.containers
FROM (SELECT agent_id, count(*) AS containers FROM kernels WHERE status = 'SCHEDULED' GROUP BY 1) AS k
WHERE a.id = k.agent_id;
UPDATE kernels SET status = 'PENDING', agent_id = NULL, occupied_slots = '{}' WHERE status = 'SCHEDULED';
UPDATE sessions SET status = 'PENDING' WHERE status = 'SCHEDULED';
TRUNCATE session_history, operations;
VACUUM (ANALYZE) sessions; VACUUM (ANALYZE) kernels; VACUUM agent_slots; VACUUM agents; CHECKPOINT
"""


class Writers:
    """The ways to write to a database of so many pending sessions and 1,000 running ones."""

    def __init__(self, runner: asyncio.Runner, server: EmbeddedPostgres, pending: int) -> None:
        self._runner = runner
        self.server = server
        self.database: BenchDatabase = runner.run(self._fill(pending))
        self.name = sa.make_url(self.database.url).database or ""
        self.engine = create_engine(DatabaseSettings(url=SecretUrl(self.database.url)))
        self.scheduler = SchedulerRepository(SchedulerDBSource(self.engine))
        self.lifecycle = LifecycleRepository(LifecycleDBSource(self.engine))
        self.sessions = SessionRepository(SessionDBSource(self.engine))
        data = runner.run(self.scheduler.get_scheduling_data(GROUP))
        self.model = data.pending_sessions[0]
        self.slot_names = [slot_type.name for slot_type in data.slot_types]
        self.kernels = {k.kernel_id: k for session in data.pending_sessions for k in session.kernels}
        single = [each for each in BestFitPlanner().plan(data) if len(each.kernels) == 1]
        self.batch: list[SessionAllocation] = single[:BATCH]
        assert len(self.batch) == BATCH
        self.bare = runner.run(BareUpdates.connect(self.database.dsn))

    async def _fill(self, pending: int) -> BenchDatabase:
        database = await make_database(self.server, pending, pending * 8 // 5)
        await add_sessions(self.server, database, 1_000, "RUNNING")
        return database

    def slots_of(self, batch: list[SessionAllocation]) -> Counter[tuple[str, str]]:
        added: Counter[tuple[str, str]] = Counter()
        for allocation in batch:
            for chosen in allocation.kernels:
                for name, amount in zip(
                    self.slot_names, self.kernels[chosen.kernel_id].requested_slots, strict=False
                ):
                    added[chosen.agent_id, name] += amount
        return added

    async def undo(self) -> None:
        name = self.name
        for statement in _UNDO.split(";"):
            await run_as_admin(self.server, name, statement)

    def close(self) -> None:
        self._runner.run(self.bare.close())
        self._runner.run(self.engine.dispose())


@pytest.fixture(scope="module")
def durable_server() -> Iterator[EmbeddedPostgres]:
    """PostgreSQL as it is run for real: every COMMIT is on disk before it is answered."""
    with EmbeddedPostgres(settings={"max_wal_size": "8GB", "autovacuum": "off"}) as server:
        yield server


@pytest.fixture(scope="module")
def writers(runner: asyncio.Runner, durable_server: EmbeddedPostgres) -> Iterator[Writers]:
    writers = Writers(runner, durable_server, 10_000)
    yield writers
    writers.close()


@pytest.fixture(scope="module")
def long_queue_writers(runner: asyncio.Runner, durable_server: EmbeddedPostgres) -> Iterator[Writers]:
    writers = Writers(runner, durable_server, 50_000)
    yield writers
    writers.close()


async def _timed(work: Callable[[], Awaitable[object]]) -> float:
    started = perf_counter()
    await work()
    return (perf_counter() - started) * 1000


class TestAllocation:
    def test_a_batch_is_near_the_bare_updates(self, runner: asyncio.Runner, writers: Writers) -> None:
        batch, slots = writers.batch, writers.slots_of(writers.batch)

        async def by_engine() -> None:
            result = await writers.scheduler.allocate_sessions(GROUP, batch)
            assert len(result.allocated) == BATCH

        async def measured() -> dict[str, float]:
            times: dict[str, list[float]] = {"bare": [], "engine": []}
            ways: dict[str, Callable[[], Awaitable[object]]] = {
                "bare": lambda: writers.bare.place(batch, slots),
                "engine": by_engine,
            }
            for turn in range(ROUNDS + 1):
                for name, way in ways.items():
                    elapsed = await _timed(way)
                    await writers.undo()
                    if turn:
                        times[name].append(elapsed)
            return {name: median(values) for name, values in times.items()}

        times = runner.run(measured())
        ratio = times["engine"] / times["bare"]
        print(f"\nbare {times['bare']:.1f} ms, engine {times['engine']:.1f} ms, {ratio:.2f} times")
        assert ratio <= 4

    def test_the_plain_way_is_left_behind(self, runner: asyncio.Runner, writers: Writers) -> None:
        async def measured() -> tuple[float, float]:
            plain, engine = [], []
            for turn in range(4):
                elapsed = await _timed(
                    lambda: place_by_orm(writers.engine, writers.batch[:PLAIN_BATCH], writers.slot_names)
                )
                await writers.undo()
                ours = await _timed(lambda: writers.scheduler.allocate_sessions(GROUP, writers.batch))
                await writers.undo()
                if turn:
                    plain.append(elapsed / PLAIN_BATCH)
                    engine.append(ours / BATCH)
            return median(plain), median(engine)

        plain, engine = runner.run(measured())
        print(f"\nper session: plain {plain:.2f} ms, engine {engine:.3f} ms, {plain / engine:.0f} times")
        assert plain >= 50 * engine


class TestBulk:
    """Enqueue and end 10,000 at once, against one at a time; and in a longer queue."""

    COUNT = 10_000
    SINGLES = 100

    def test_bulk_is_far_faster_than_one_at_a_time(self, runner: asyncio.Runner, writers: Writers) -> None:
        rounds = [runner.run(self.round(writers)) for _ in range(4)][1:]
        times = BulkTimes(
            *(median(column) for column in zip(*map(msgspec.structs.astuple, rounds), strict=True))
        )
        enqueue, terminate = times.enqueue_single / times.enqueue, times.terminate_single / times.terminate
        print(
            f"\nper session: enqueue {times.enqueue:.3f} / {times.enqueue_single:.2f} ms, {enqueue:.0f} times; "
            f"terminate {times.terminate:.3f} / {times.terminate_single:.2f} ms, {terminate:.0f} times"
        )
        assert enqueue >= 20
        assert terminate >= 20

    def test_a_session_costs_the_same_in_a_longer_queue(
        self, runner: asyncio.Runner, writers: Writers, long_queue_writers: Writers
    ) -> None:
        short: list[BulkTimes] = []
        long: list[BulkTimes] = []
        for _ in range(4):
            short.append(runner.run(self.round(writers)))
            long.append(runner.run(self.round(long_queue_writers)))
        for name in ("enqueue", "terminate"):
            before, after = (median(getattr(times, name) for times in each[1:]) for each in (short, long))
            print(f"\n{name}: 10,000 pending {before:.3f} ms, 50,000 pending {after:.3f} ms a session")
            # The same, but for noise.
            assert after <= 1.25 * before

    async def round(self, writers: Writers) -> BulkTimes:
        specs = [bulk_spec(writers.model) for _ in range(self.COUNT)]
        singles = [bulk_spec(writers.model) for _ in range(self.SINGLES)]

        async def enqueue_singly() -> None:
            for spec in singles:
                await writers.sessions.enqueue_sessions([spec])

        async def terminate_singly() -> None:
            for spec in singles:
                await writers.lifecycle.mark_terminated([SessionEnd(spec.session_id)])

        async def terminate_all() -> None:
            result = await writers.lifecycle.mark_terminated([SessionEnd(spec.session_id) for spec in specs])
            assert len(result.changed) == self.COUNT

        gc.collect()
        enqueue = await _timed(lambda: writers.sessions.enqueue_sessions(specs))
        enqueue_single = await _timed(enqueue_singly)
        await run_all(writers.server, writers.name)
        terminate = await _timed(terminate_all)
        terminate_single = await _timed(terminate_singly)
        return BulkTimes(
            enqueue / self.COUNT,
            enqueue_single / self.SINGLES,
            terminate / self.COUNT,
            terminate_single / self.SINGLES,
        )
