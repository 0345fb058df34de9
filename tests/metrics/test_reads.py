"""Rows and bytes of a read, against what the database holds and what goes over the wire."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Optional, cast

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.errors import ScalingGroupNotFound
from scheduler_repo.metrics.reads import bytes_received
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from tests.metrics.samples import sample
from tests.support.databases import ADMIN, SCHEDULER, Database, DriverConnection
from tests.support.waiting import PATIENCE

IS_SLEEPING = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"
# Of 100 kB each: more than a socket takes at once.
ROWS = 300


class TestReads:
    @pytest.fixture
    def db_source(self, engine: ExtendedAsyncSAEngine) -> SchedulerDBSource:
        return SchedulerDBSource(engine)

    async def test_rows(self, db_source: SchedulerDBSource, group: ScalingGroupName) -> None:
        # when
        data = (await db_source.get_scheduling_data(group)).data
        # then
        rows = sample("scheduler_repo_read_rows_sum", scaling_group=group)
        assert sample("scheduler_repo_read_rows_count", scaling_group=group) == 1
        slots = len(data.slot_types)
        kernels = sum(len(session.kernels) for session in data.pending_sessions)
        # snapshot, group, slot types, sessions, kernels, agents and their slots
        least = 2 + slots + 30 + kernels + len(data.agents) * (1 + slots)
        assert least <= rows < least + 200

    async def test_each_session_adds_its_rows(
        self, db_source: SchedulerDBSource, group: ScalingGroupName
    ) -> None:
        # when
        await db_source.get_scheduling_data(group, pending_limit=1)
        one = sample("scheduler_repo_read_rows_sum", scaling_group=group)
        await db_source.get_scheduling_data(group, pending_limit=11)
        eleven = sample("scheduler_repo_read_rows_sum", scaling_group=group) - one
        # then a session and a kernel each, and what their owners have
        assert 20 <= eleven - one <= 20 + 10 * 8

    async def test_bytes_grow_with_what_is_read(
        self, db_source: SchedulerDBSource, group: ScalingGroupName
    ) -> None:
        # given
        await db_source.get_scheduling_data(group)
        await db_source.get_scheduling_data(group)
        # when
        before = sample("scheduler_repo_read_bytes_sum", scaling_group=group)
        await db_source.get_scheduling_data(group, pending_limit=1)
        one = sample("scheduler_repo_read_bytes_sum", scaling_group=group) - before
        await db_source.get_scheduling_data(group)
        all_sessions = sample("scheduler_repo_read_bytes_sum", scaling_group=group) - before - one
        # then
        assert sample("scheduler_repo_read_bytes_count", scaling_group=group) == 4
        assert one > 1_000
        # A session's row and its kernel's have five uuids and some names.
        assert all_sessions - one > 29 * 150

    async def test_read_that_fails_is_not_counted(self, db_source: SchedulerDBSource) -> None:
        with pytest.raises(ScalingGroupNotFound):
            await db_source.get_scheduling_data(ScalingGroupName("nowhere"))
        assert sample("scheduler_repo_read_bytes_count", scaling_group="nowhere") == 0


class TestBytesReceived:
    """Counted between transport and driver, whichever event loop and however the answer comes in."""

    @pytest.fixture
    async def driver(self, fresh_database: Database) -> AsyncIterator[DriverConnection]:
        async with fresh_database.driver_as(SCHEDULER) as connection:
            assert bytes_received(connection) == 0
            yield connection

    async def received(self, driver: DriverConnection, statement: str) -> int:
        before = cast(int, bytes_received(driver))
        await driver.fetch(statement)
        return cast(int, bytes_received(driver)) - before

    @pytest.mark.parametrize("size", [1, 1_000, 100_000, 3_000_000])
    async def test_is_what_the_server_sent(self, driver: DriverConnection, size: int) -> None:
        # given a statement that is prepared already
        statement = f"SELECT repeat('x', {size})"
        await driver.fetch(statement)
        # when
        received = await self.received(driver, statement)
        # then exactly: BindComplete 5, DataRow 7 + 4 + size, CommandComplete "SELECT 1" 14, ReadyForQuery 6
        assert received == 5 + 11 + size + 14 + 6

    async def test_survives_a_cancel_and_the_end(self, fresh_database: Database) -> None:
        async with (
            fresh_database.driver_as(SCHEDULER) as driver,
            fresh_database.driver_as(SCHEDULER) as observer,
        ):
            # given a statement that the server is at: one that it has not begun it would not cancel
            bytes_received(driver)
            call = asyncio.create_task(driver.execute("SELECT pg_sleep(60)"))
            async with asyncio.timeout(PATIENCE):
                while not await observer.fetchval(IS_SLEEPING, driver.get_server_pid()):
                    pass
            # when
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            # then
            assert await driver.fetchval("SELECT 1") == 1
            await driver.close()
            assert driver.is_closed()

    async def test_driver_still_learns_that_the_server_is_gone(self, fresh_database: Database) -> None:
        async with fresh_database.driver_as(SCHEDULER) as driver:
            # given
            ended = asyncio.Event()
            driver.add_termination_listener(lambda _: ended.set())
            bytes_received(driver)
            # when
            await fresh_database.run_as(ADMIN, f"SELECT pg_terminate_backend({driver.get_server_pid()})")
            # then
            async with asyncio.timeout(PATIENCE):
                await ended.wait()
            with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
                await driver.fetchval("SELECT 1")

    async def test_large_requests_wait_for_the_server(self, fresh_database: Database) -> None:
        """The driver is still told when it must pause, and when it may go on."""
        async with fresh_database.driver_as(ADMIN) as driver:
            # given
            bytes_received(driver)
            await driver.execute("CREATE TEMPORARY TABLE words (word text)")
            transport: asyncio.Transport = driver._transport
            buffered: list[int] = []

            def rows() -> Iterator[tuple[str]]:
                for _ in range(ROWS):
                    buffered.append(transport.get_write_buffer_size())
                    yield ("x" * 100_000,)

            # when
            async with asyncio.timeout(PATIENCE):
                await driver.copy_records_to_table("words", records=rows())
            # then
            assert await driver.fetchval("SELECT count(*) FROM words") == ROWS
            assert 0 < max(buffered) < 5_000_000

    async def test_connection_of_a_pool_counts_on(
        self, engine: ExtendedAsyncSAEngine, group: ScalingGroupName
    ) -> None:
        # given
        counts: list[Optional[int]] = []
        for _ in range(3):
            async with engine.begin_readonly_session() as db_sess:
                counts.append(bytes_received(driver_connection(db_sess)))
                await db_sess.execute(sa.text("SELECT 1"))
        # then
        assert counts[0] == 0
        assert all(count is not None for count in counts)
        assert counts == sorted(set(cast("list[int]", counts)))

    def test_driver_without_a_transport(self) -> None:
        assert bytes_received(cast(DriverConnection, object())) is None

    async def test_figures_of_a_read_that_could_not_be_counted(
        self, fresh_database: Database, group: ScalingGroupName, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The read goes on, and only its bytes are missing."""
        # given
        monkeypatch.setattr("scheduler_repo.repositories.scheduler.db_source.bytes_received", lambda _: None)
        engine = create_engine(DatabaseSettings(url=SecretUrl(fresh_database.url_as(SCHEDULER))))
        # when
        await SchedulerDBSource(engine).get_scheduling_data(group)
        # then
        assert sample("scheduler_repo_read_rows_count", scaling_group=group) == 1
        assert sample("scheduler_repo_read_bytes_count", scaling_group=group) == 0
        await engine.dispose()
