"""Whoever finds the logs of changes long has them folded and trimmed beside its own work."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import pytest
from prometheus_client import REGISTRY

from scheduler_repo.database import log_keeping
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine
from scheduler_repo.database.log_keeping import LogKeeper, keeper_of
from scheduler_repo.errors import DatabaseReadOnly
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.repositories.scheduler.tracker import SnapshotTracker
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import OwnerScope
from tests.changes.usage import COUNTED, KEPT, read_usage
from tests.deltas.held_answers import assert_same
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.own_server import own_database
from tests.support.small_cluster import GROUP, agent, cluster, place, session, session_id
from tests.support.standby import standby_of
from tests.support.waiting import PATIENCE

_UNFOLDED: Final = "SELECT count(*) FROM unfolded_usage"
_KEEPS: Final = "SET LOCAL scheduler_repo.keeps_changes = 'on'"
# In one transaction, the last status is that of the start.
_CHANGE_STATUS: Final = f"""
DO $$
BEGIN
    FOR n IN 1..{{times}} LOOP
        UPDATE sessions SET status = CASE WHEN n % 2 = 1 THEN 'RUNNING' ELSE 'PENDING' END
        WHERE id = '{session_id(2)}';
    END LOOP;
END
$$
"""
_LONG: Final = _CHANGE_STATUS.format(times=502)
_SHORT: Final = _CHANGE_STATUS.format(times=500)

Call = Callable[[ExtendedAsyncSAEngine], Awaitable[object]]


async def _read(engine: ExtendedAsyncSAEngine) -> object:
    return await SchedulerRepository(SchedulerDBSource(engine)).get_scheduling_data(GROUP)


async def _allocate(engine: ExtendedAsyncSAEngine) -> object:
    return await SchedulerRepository(SchedulerDBSource(engine)).allocate_sessions(GROUP, [place(0, "a1")])


@asynccontextmanager
async def _engine(
    database: Database, role: str = SCHEDULER, *, keeps_logs_short: bool = True, lock_timeout: float = 5
) -> AsyncIterator[ExtendedAsyncSAEngine]:
    settings = DatabaseSettings(
        url=SecretUrl(database.url_as(role)),
        pool_size=1,
        keeps_logs_short=keeps_logs_short,
        lock_timeout=lock_timeout,
    )
    engine = create_engine(settings)
    try:
        yield engine
    finally:
        await engine.dispose()


@pytest.fixture
async def opened(migrated_database: Database) -> AsyncIterator[ExtendedAsyncSAEngine]:
    """An engine whose one connection is all that callers have."""
    async with _engine(migrated_database) as engine:
        yield engine


@pytest.fixture
async def other(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    async with migrated_database.driver_as(OWNER) as driver:
        yield driver


@pytest.fixture(autouse=True)
async def _three_sessions(load: Load) -> None:
    await load(cluster([agent("a1")], [session(number, 1) for number in range(3)]))


def _count(outcome: str) -> float:
    return REGISTRY.get_sample_value("scheduler_repo_log_keeping_count_total", {"outcome": outcome}) or 0.0


async def _until_blocked(observer: DriverConnection) -> None:
    """Wait until somebody waits for a lock of the observer's."""
    blocked = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
    )
    async with asyncio.timeout(PATIENCE):
        while not await observer.fetchval(blocked):
            pass


class TestFolding:
    @pytest.mark.parametrize("call", [_read, _allocate])
    async def test_follows_a_call_that_finds_much_unfolded(
        self, opened: ExtendedAsyncSAEngine, owner_connection: DriverConnection, call: Call
    ) -> None:
        before = _count("done")
        await owner_connection.execute(_SHORT)
        await call(opened)
        assert opened.log_keeper is None
        await owner_connection.execute(_LONG)
        # when
        await call(opened)
        await keeper_of(opened).finish()
        # then
        assert await owner_connection.fetchval(_UNFOLDED) == 0
        assert await read_usage(owner_connection, KEPT) == await read_usage(owner_connection, COUNTED)
        assert _count("done") == before + 1

    async def test_follows_a_refresh_too(
        self, opened: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        tracker = SnapshotTracker(SchedulerDBSource(opened))
        await tracker.get_scheduling_data(GROUP)
        for _ in range(2):
            await owner_connection.execute(_LONG)
            await tracker.get_scheduling_data(GROUP)
            await keeper_of(opened).finish()
            assert await owner_connection.fetchval(_UNFOLDED) == 0

    async def test_takes_no_connection_from_callers(
        self, opened: ExtendedAsyncSAEngine, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        await owner_connection.execute(_LONG)
        # given a fold that waits for a row
        await _fold_once(owner_connection)
        await owner_connection.execute(_LONG)
        await other.execute("BEGIN; SELECT FROM owner_usage FOR UPDATE")
        await _read(opened)
        await _until_blocked(other)
        # when
        async with asyncio.timeout(PATIENCE):
            await _read(opened)
            await _allocate(opened)
        # then
        assert (opened.connections_in_use, opened.callers_waiting) == (0, 0)
        await other.execute("ROLLBACK")
        await keeper_of(opened).finish()
        assert await owner_connection.fetchval(_UNFOLDED) == 0

    async def test_leaves_it_to_another_who_is_at_it(
        self, opened: ExtendedAsyncSAEngine, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        before = _count("busy")
        await owner_connection.execute(_LONG)
        await other.execute("BEGIN; SELECT FROM change_floor FOR UPDATE")
        await _read(opened)
        await keeper_of(opened).finish()
        assert _count("busy") == before + 1
        assert await owner_connection.fetchval(_UNFOLDED) == 502

    async def test_can_be_switched_off(
        self, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        await owner_connection.execute(_LONG)
        async with _engine(migrated_database, keeps_logs_short=False) as engine:
            await _read(engine)
            assert engine.log_keeper is None

    async def test_is_not_for_those_who_may_not(
        self, migrated_database: Database, owner_connection: DriverConnection
    ) -> None:
        await owner_connection.execute(_LONG)
        async with _engine(migrated_database, READER) as engine:
            await _read(engine)
            assert engine.log_keeper is None

    async def test_where_nothing_can_be_written_is_tried_in_vain_and_said_once(
        self,
        migrated_database: Database,
        owner_connection: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """As on a former primary: it is no standby, but only reads."""
        # given
        monkeypatch.setattr(log_keeping, "_LONG_PAUSE", 0)
        await owner_connection.execute(_LONG)
        name = migrated_database.name
        await migrated_database.run_as(ADMIN, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        before = _count("failed")
        # when
        async with _engine(migrated_database) as engine:
            for _ in range(3):
                await _read(engine)
                await keeper_of(engine).finish()
        # then
        assert _count("failed") == before + 3
        (warning,) = (record for record in caplog.records if record.levelname == "WARNING")
        assert "were not folded and trimmed, which costs time alone" in warning.getMessage()

    @pytest.mark.slow
    async def test_on_a_standby_is_not_even_tried(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is not folded counts all the same."""
        async with own_database({"fsync": "off", "wal_level": "replica"}) as (primary, database):
            # given
            async with _engine(database) as engine:
                spec = cluster([agent("a1")], [session(number, 1) for number in range(3)])
                await ClusterRepository(ClusterDBSource(engine)).load_cluster(spec)
            await database.run_as(OWNER, _CHANGE_STATUS.format(times=503))
            async with standby_of(primary, database) as standby:
                copy = Database(database.name, standby.url("postgres", "postgres"))
                async with _engine(copy) as engine:
                    repository = SchedulerRepository(SchedulerDBSource(engine))
                    tracker = repository.make_tracker()
                    # when
                    for _ in range(3):
                        data = await repository.get_scheduling_data(GROUP)
                        assert_same((await tracker.get_scheduling_data(GROUP)).data, data)
                    # then
                    assert [usage.session_count for usage in data.owners_of(OwnerScope.DOMAIN)] == [1]
                    assert (engine.log_keeper, caplog.records) == (None, [])
                    for keeping in (repository.fold_usage(), repository.trim_changes()):
                        with pytest.raises(DatabaseReadOnly):
                            await keeping

    async def test_that_fails_is_counted_each_time_and_logged_once(
        self,
        migrated_database: Database,
        owner_connection: DriverConnection,
        other: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        # given
        monkeypatch.setattr(log_keeping, "_LONG_PAUSE", 0)
        await owner_connection.execute(_LONG)
        await _fold_once(owner_connection)
        await owner_connection.execute(_LONG)
        await other.execute("BEGIN; SELECT FROM owner_usage FOR UPDATE")
        before = _count("failed")
        async with _engine(migrated_database, lock_timeout=0.01) as engine:
            # when
            for _ in range(3):
                await _read(engine)
                await keeper_of(engine).finish()
            # then
            assert _count("failed") == before + 3
            assert [record.levelname for record in caplog.records if "are long" in record.message] == [
                "WARNING"
            ]
            await other.execute("ROLLBACK")
            await _read(engine)
            await keeper_of(engine).finish()
        assert await owner_connection.fetchval(_UNFOLDED) == 0

    async def test_that_is_under_way_is_cancelled_when_the_engine_is_closed(
        self,
        opened: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
        other: DriverConnection,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(log_keeping, "_LAST_SECONDS", 0.01)
        await owner_connection.execute(_LONG)
        await _fold_once(owner_connection)
        await owner_connection.execute(_LONG)
        await other.execute("BEGIN; SELECT FROM owner_usage FOR UPDATE")
        before = _count("cancelled")
        await _read(opened)
        await _until_blocked(other)
        # when
        await opened.dispose()
        # then
        await other.execute("ROLLBACK")
        assert _count("cancelled") == before + 1
        assert await read_usage(owner_connection, KEPT) == await read_usage(owner_connection, COUNTED)
        assert await owner_connection.fetchval(_UNFOLDED) == 502

    async def test_that_is_under_way_is_waited_for_when_the_engine_is_closed(
        self, opened: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        await owner_connection.execute(_LONG)
        await _read(opened)
        await opened.dispose()
        assert await owner_connection.fetchval(_UNFOLDED) == 0


async def _fold_once(connection: DriverConnection) -> None:
    """Make the owners' rows, for which others can wait."""
    while await connection.fetchval("SELECT fold_usage()"):
        pass


async def test_a_change_log_that_is_long_is_trimmed(
    migrated_database: Database, owner_connection: DriverConnection
) -> None:
    # given some megabytes, and nobody who has trimmed for an hour
    await owner_connection.execute(
        "INSERT INTO change_log (kind, names) VALUES ('a', ARRAY[repeat('x', 5000000)])"
    )
    for left in (True, False):
        await owner_connection.execute(
            f"BEGIN; {_KEEPS}; UPDATE change_floor SET next_floor_at = now() - interval '1 hour'; COMMIT"
        )
        # when
        async with _engine(migrated_database) as engine:
            await _read(engine)
            assert isinstance(engine.log_keeper, LogKeeper)
            await engine.log_keeper.finish()
        # then
        found = await owner_connection.fetchval(
            "SELECT EXISTS (SELECT FROM change_log WHERE kind = 'a' AND names[1] LIKE 'xx%')"
        )
        assert found is left
