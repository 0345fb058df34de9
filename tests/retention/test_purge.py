"""What a purge deletes, what it keeps, and in what portions."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, create_engine, driver_connection
from scheduler_repo.entities.retention import PurgeResult
from scheduler_repo.errors import InvalidInput
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.retention.db_source import RetentionDBSource
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import OperationId, SessionStatus
from tests.support.databases import DriverConnection
from tests.support.old_rows import (
    LIVE,
    TABLES_OF_SESSIONS,
    add_agent_history,
    add_all_that_belongs,
    add_finished,
    add_operations,
    depend,
    existing,
    rows_of,
    set_status,
)
from tests.support.small_cluster import session_id
from tests.support.waiting import PATIENCE

MONTH = timedelta(days=30)
OLD = range(100, 110)


class TestSessions:
    @pytest.mark.parametrize("status", ["TERMINATED", "CANCELLED", "ERROR"])
    async def test_what_is_finished_and_old_goes_with_all_that_belongs_to_it(
        self, retention: RetentionRepository, owner_connection: DriverConnection, status: str
    ) -> None:
        # given
        await add_finished(owner_connection, OLD, status=status)
        for number in OLD:
            await add_all_that_belongs(owner_connection, number)
        assert all((await rows_of(owner_connection, OLD)).values())
        # when
        done = await retention.purge(MONTH)
        # then
        assert (done.sessions, done.kernels) == (len(OLD), 2 * len(OLD))
        assert await rows_of(owner_connection, OLD) == {table: [] for table in TABLES_OF_SESSIONS}

    async def test_nothing_of_the_rest_is_touched(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given sessions of every unfinished status, as old as those that go, with old history, and young ones
        await add_finished(owner_connection, OLD)
        unfinished = [status for status in SessionStatus if status not in ("TERMINATED", "CANCELLED", "ERROR")]
        for number, status in enumerate(unfinished, start=LIVE.start):
            await set_status(owner_connection, number, status.value, days=50)
            await add_all_that_belongs(owner_connection, number)
        young = range(200, 210)
        await add_finished(owner_connection, young, days=29)
        await owner_connection.execute(
            "UPDATE session_history SET changed_at = now() - interval '50 days'"
            " WHERE session_id NOT IN (SELECT id FROM sessions WHERE status = 'TERMINATED')"
        )
        before = await rows_of(owner_connection, [*LIVE, *young])
        assert len(unfinished) == 5
        assert all(before.values())
        # when
        done = await retention.purge(MONTH)
        # then
        assert done.sessions == len(OLD)
        assert await rows_of(owner_connection, [*LIVE, *young]) == before

    async def test_what_an_unfinished_session_depends_on_is_kept_until_that_has_finished(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given one that a live session depends on, and one that only a finished session does
        await add_finished(owner_connection, OLD)
        await depend(owner_connection, LIVE[0], on=100)
        await depend(owner_connection, 109, on=101)
        # when
        done = await retention.purge(MONTH)
        # then
        assert (done.sessions, done.kept_sessions) == (len(OLD) - 1, 1)
        assert session_id(100) in await existing(owner_connection)
        # when
        await set_status(owner_connection, LIVE[0], "TERMINATED")
        done = await retention.purge(MONTH)
        # then
        assert (done.sessions, done.kept_sessions) == (1, 0)

    async def test_the_clock_is_the_databases_whatever_its_time_zone(
        self,
        retention: RetentionRepository,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
    ) -> None:
        # given a session that has just become as old, and one that will in a minute
        await add_finished(owner_connection, range(100, 102))
        for number, minutes in ((100, 1), (101, -1)):
            await owner_connection.execute(
                "UPDATE sessions SET status_changed_at = now() - make_interval(hours => 30 * 24, mins => $2)"
                " WHERE id = $1",
                session_id(number),
                minutes,
            )
        # a zone whose days are not of 24 hours twice a year
        async with engine.begin_session() as db_sess:
            await driver_connection(db_sess).execute("SET TIME ZONE 'Europe/Berlin'")
        # when
        done = await retention.purge(MONTH)
        # then
        assert done.sessions == 1
        assert session_id(101) in await existing(owner_connection)


class TestAgentHistoryAndOperations:
    async def test_the_newest_change_of_each_agent_stays(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given old changes of both agents, and a young one of the first
        await owner_connection.execute("DELETE FROM agent_history")
        await add_agent_history(owner_connection, "a1", 20)
        await add_agent_history(owner_connection, "a2", 20)
        await add_agent_history(owner_connection, "a1", 1, days=1)
        newest = await owner_connection.fetch("SELECT max(id) FROM agent_history GROUP BY agent_id ORDER BY 1")
        # when
        done = await retention.purge(MONTH, batch_size=7)
        # then
        assert done.agent_history == 39
        assert await owner_connection.fetch("SELECT id FROM agent_history ORDER BY 1") == newest

    async def test_changes_that_stay_are_seen_once(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given as many of them as a batch sees, before all the others
        await add_agent_history(owner_connection, "a1", 10)
        await add_agent_history(owner_connection, "a2", 10)
        await owner_connection.execute(
            "UPDATE agent_history SET changed_at = now() - interval '50 days'"
            " WHERE id IN (SELECT max(id) FROM agent_history GROUP BY agent_id)"
        )
        # when
        async with asyncio.timeout(PATIENCE):
            done = await retention.purge(MONTH, batch_size=2)
        # then
        assert done.agent_history == 18

    async def test_many_changes_of_one_instant_are_all_seen(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await add_agent_history(owner_connection, "a1", 25)
        await add_agent_history(owner_connection, "a2", 25)
        await owner_connection.execute(
            "UPDATE agent_history SET changed_at = date_trunc('day', now() - interval '40 days')"
        )
        # when
        done = await retention.purge(MONTH, batch_size=10)
        # then: with the row of each that registering made
        assert done.agent_history == 50

    async def test_old_operations_are_not_recognised_any_more_and_young_ones_are(
        self,
        retention: RetentionRepository,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await add_operations(owner_connection, 25)
        lifecycle = LifecycleRepository(LifecycleDBSource(engine))
        asked = OperationId(uuid4())
        first = await lifecycle.mark_cancelled([session_id(1)], operation_id=asked)
        # when
        done = await retention.purge(MONTH, batch_size=10)
        # then
        assert done.operations == 25
        assert await lifecycle.mark_cancelled([session_id(1)], operation_id=asked) == first
        # when it grows old
        await owner_connection.execute("UPDATE operations SET created_at = now() - interval '40 days'")
        await retention.purge(MONTH)
        # then the same is asked as something new
        again = await lifecycle.mark_cancelled([session_id(1)], operation_id=asked)
        assert (len(first.changed), len(again.changed)) == (1, 0)

    async def test_many_operations_of_one_instant_all_go(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given, with the one that loading the cluster made
        await add_operations(owner_connection, 24)
        await owner_connection.execute("UPDATE operations SET created_at = now() - interval '40 days'")
        # then
        assert (await retention.purge(MONTH, batch_size=10)).operations == 25


class TestBatches:
    async def test_each_is_a_transaction_of_its_own_and_bounded(
        self,
        retention: RetentionRepository,
        engine: ExtendedAsyncSAEngine,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await add_finished(owner_connection, range(100, 125))
        await add_operations(owner_connection, 15)
        await add_agent_history(owner_connection, "a1", 15)
        seen: list[PurgeResult] = []
        queries: list[str] = []
        async with engine.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
        # when
        with driver.query_logger(lambda record: queries.append(record.query)):
            done = await retention.purge(MONTH, batch_size=10, on_batch=seen.append)
        # then
        assert done == seen[-1]
        assert [each.sessions for each in seen[:3]] == [10, 20, 25]
        steps = zip([PurgeResult(), *seen], seen, strict=False)
        assert all(
            max(later.sessions - one.sessions, later.operations - one.operations) <= 10
            and later.agent_history - one.agent_history <= 10
            for one, later in steps
        )
        assert (done.agent_history, done.operations, done.batches) == (14, 15, 7)
        assert sum(query.startswith("BEGIN ISOLATION LEVEL READ COMMITTED;") for query in queries) == 7
        # then: two statements per batch of sessions, one of history or operations; the cutoff before
        assert len(queries) - queries.count("COMMIT") - 8 == 1 + 2 * 3 + 2 + 2

    async def test_counting_says_what_a_purge_does_and_deletes_nothing(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)
        await depend(owner_connection, LIVE[0], on=100)
        await add_operations(owner_connection, 5)
        await add_agent_history(owner_connection, "a1", 5)
        # when
        counted = await retention.count_purgeable(MONTH)
        # then
        assert len(await existing(owner_connection)) == len(OLD) + len(LIVE)
        done = await retention.purge(MONTH)
        assert (done.sessions, done.kernels, done.kept_sessions) == (9, 18, 1)
        assert (done.operations, done.agent_history) == (5, 4)
        assert counted + PurgeResult(batches=done.batches) == done

    async def test_an_empty_database_costs_three_batches(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        assert await retention.purge(MONTH) == PurgeResult(batches=3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("older_than", "said"),
        [
            (timedelta(minutes=59), "the least is 1:00:00"),
            (timedelta(0), "the least is 1:00:00"),
            (-MONTH, "the least is 1:00:00"),
            (timedelta(days=40_000), "the most is 36500 days"),
        ],
    )
    async def test_times_that_are_too_short_or_absurd(
        self, retention: RetentionRepository, older_than: timedelta, said: str
    ) -> None:
        for call in (retention.purge, retention.count_purgeable):
            with pytest.raises(InvalidInput, match=said):
                await call(older_than)

    async def test_a_time_in_which_a_write_may_still_be_asked_for(self) -> None:
        # given an engine that asks after a lost COMMIT for 45 minutes; it connects to nothing
        url = SecretUrl("postgresql://nowhere/none")
        engine = create_engine(DatabaseSettings(url=url, resolve_timeout=2_700))
        # then
        with pytest.raises(InvalidInput, match=r"least is 1:30:00 .*operation id must find it"):
            await RetentionRepository(RetentionDBSource(engine)).purge(timedelta(minutes=89))

    @pytest.mark.parametrize("batch_size", [0, -1, 10_001])
    async def test_batches_that_are_none(self, retention: RetentionRepository, batch_size: int) -> None:
        with pytest.raises(InvalidInput, match="must be a whole number from 1 to 10000"):
            await retention.purge(MONTH, batch_size)

    async def test_the_shortest_and_the_longest_time_are_taken(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        await add_finished(owner_connection, OLD)
        assert (await retention.purge(timedelta(days=36_500))).sessions == 0
        assert (await retention.purge(timedelta(hours=1))).sessions == len(OLD)
