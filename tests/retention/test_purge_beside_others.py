"""Purging while others hold, finish, requeue and enqueue: nobody waits, and nothing live is lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from random import Random

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.entities.lifecycle import SessionEnd, SessionRetry
from scheduler_repo.entities.retention import ArchivedSession, PurgeResult
from scheduler_repo.repositories.lifecycle.db_source import LifecycleDBSource
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.retention.repository import RetentionRepository
from scheduler_repo.repositories.session.db_source import SessionDBSource
from scheduler_repo.repositories.session.repository import SessionRepository
from scheduler_repo.types import SessionId
from tests.support.databases import OWNER, SCHEDULER, Database, DriverConnection
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
from tests.support.small_cluster import session, session_id
from tests.support.waiting import PATIENCE

MONTH = timedelta(days=30)
OLD = range(100, 110)


@asynccontextmanager
async def held(database: Database, *statements: str) -> AsyncIterator[None]:
    """Another transaction that is open meanwhile, and commits at the end."""
    async with database.driver_as(OWNER) as driver, driver.transaction():
        for statement in statements:
            await driver.execute(statement)
        yield


class TestLocks:
    @pytest.mark.parametrize(
        "statement",
        [
            "SELECT FROM sessions WHERE id = '{id}' FOR UPDATE",
            "SELECT FROM sessions WHERE id = '{id}' FOR NO KEY UPDATE",
            "UPDATE sessions SET status = 'PENDING' WHERE id = '{id}'",
        ],
    )
    async def test_a_session_that_another_holds_is_skipped_and_not_waited_for(
        self,
        retention: RetentionRepository,
        migrated_database: Database,
        owner_connection: DriverConnection,
        statement: str,
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)
        # when
        async with (
            held(migrated_database, statement.format(id=session_id(100))),
            asyncio.timeout(PATIENCE),
        ):
            done = await retention.purge(MONTH, batch_size=4)
        # then
        assert (done.sessions, done.skipped_sessions) == (len(OLD) - 1, 1)
        assert session_id(100) in await existing(owner_connection)
        # and the next purge takes it, unless it waits in the queue again
        is_queued = "PENDING" in statement
        assert (await retention.purge(MONTH)).sessions == (0 if is_queued else 1)

    @pytest.mark.parametrize("with_archive", [False, True])
    async def test_a_session_is_skipped_of_which_another_holds_a_row(
        self,
        retention: RetentionRepository,
        migrated_database: Database,
        owner_connection: DriverConnection,
        with_archive: bool,
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)
        archived: list[SessionId] = []

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            archived.extend(each.session_id for each in sessions)

        await add_all_that_belongs(owner_connection, 100)
        for table, column in TABLES_OF_SESSIONS.items():
            row = f"SELECT FROM {table} WHERE {column} = '{session_id(100)}' FOR UPDATE"
            # when
            async with held(migrated_database, row), asyncio.timeout(PATIENCE):
                done = await retention.purge(MONTH, archive=archive if with_archive else None)
            # then
            assert done.skipped_sessions == 1, table
            left = {session_id(number) for number in (*LIVE, 100)}
            assert await existing(owner_connection) == left
        # and the next purge takes it
        assert (await retention.purge(MONTH, archive=archive if with_archive else None)).sessions == 1
        assert len(archived) == len(set(archived)) == (len(OLD) if with_archive else 0)

    async def test_operations_that_another_holds_are_skipped(
        self,
        retention: RetentionRepository,
        migrated_database: Database,
        owner_connection: DriverConnection,
    ) -> None:
        # given the oldest ones held
        await add_operations(owner_connection, 20)
        hold = "SELECT FROM operations ORDER BY created_at LIMIT 5 FOR UPDATE"
        # when
        async with held(migrated_database, hold), asyncio.timeout(PATIENCE):
            done = await retention.purge(MONTH, batch_size=4)
        # then
        assert done.operations == 15
        assert (await retention.purge(MONTH)).operations == 5

    async def test_agent_history_that_another_deletes_is_skipped(
        self,
        retention: RetentionRepository,
        migrated_database: Database,
        owner_connection: DriverConnection,
    ) -> None:
        # given
        await add_agent_history(owner_connection, "a1", 21)
        rows = "DELETE FROM agent_history WHERE agent_id = 'a1'"
        # when
        async with held(migrated_database, rows), asyncio.timeout(PATIENCE):
            done = await retention.purge(MONTH)
        # then
        assert done.agent_history == 0

    async def test_two_purges_at_once_share_the_work(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        # given
        await add_finished(owner_connection, range(100, 200))
        await add_operations(owner_connection, 100)
        await add_agent_history(owner_connection, "a1", 101)
        # when
        async with asyncio.timeout(PATIENCE):
            first, second = await asyncio.gather(*(retention.purge(MONTH, batch_size=7) for _ in range(2)))
        # then what one skipped, the other has deleted
        total = first + second
        assert (total.sessions, total.kernels) == (100, 200)
        left = await retention.purge(MONTH)
        assert total.operations + left.operations == 100
        assert total.agent_history + left.agent_history == 100


class TestInterruptions:
    @pytest.fixture
    def archived(self) -> list[SessionId]:
        return []

    async def test_a_cancel_leaves_whole_batches(
        self,
        retention: RetentionRepository,
        owner_connection: DriverConnection,
        archived: list[SessionId],
    ) -> None:
        # given a purge that is stopped in its third batch, before the COMMIT
        await add_finished(owner_connection, range(100, 120))
        is_there = asyncio.Event()

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            archived.extend(each.session_id for each in sessions)
            if len(archived) > 10:
                is_there.set()
                await asyncio.Event().wait()

        seen: list[PurgeResult] = []
        purging = asyncio.create_task(retention.purge(MONTH, 5, seen.append, archive))
        await is_there.wait()
        # when
        purging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await purging
        # then
        left = range(110, 120)
        assert seen[-1].sessions == 10
        assert await existing(owner_connection) == {session_id(each) for each in (*LIVE, *left)}
        assert len((await rows_of(owner_connection, left))["kernels"]) == 2 * len(left)
        # when again
        done = await retention.purge(MONTH, 5)
        # then
        assert done.sessions == len(left)

    @pytest.mark.parametrize("error", [OSError(28, "No space left"), TimeoutError("slow"), ValueError("bad")])
    async def test_what_the_archive_raises_undoes_its_batch_and_is_passed_on(
        self,
        retention: RetentionRepository,
        owner_connection: DriverConnection,
        archived: list[SessionId],
        error: Exception,
    ) -> None:
        # given
        await add_finished(owner_connection, OLD)

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            if archived:
                raise error
            archived.extend(each.session_id for each in sessions)

        # when
        with pytest.raises(type(error)) as raised:
            await retention.purge(MONTH, 4, archive=archive)
        # then
        assert raised.value is error
        assert await existing(owner_connection) == {session_id(each) for each in (*LIVE, *range(104, 110))}

    async def test_a_session_that_is_needed_at_the_last_moment_is_kept(
        self,
        retention: RetentionRepository,
        migrated_database: Database,
        owner_connection: DriverConnection,
    ) -> None:
        # given a dependant that comes while its session is already locked and archived
        await add_finished(owner_connection, OLD)

        async def archive(sessions: Sequence[ArchivedSession]) -> None:
            async with migrated_database.driver_as(SCHEDULER) as other:
                await depend(other, LIVE[0], on=100)

        # when
        done = await retention.purge(MONTH, archive=archive)
        # then
        assert (done.sessions, done.kept_sessions) == (len(OLD) - 1, 1)
        assert session_id(100) in await existing(owner_connection)


class TestRace:
    """Sessions finish, go back to the queue, grow old and get dependants, while old ones are purged."""

    @pytest.mark.parametrize("rounds", [8, pytest.param(25, marks=pytest.mark.slow)])
    async def test_nothing_live_is_touched(
        self,
        retention: RetentionRepository,
        engine: ExtendedAsyncSAEngine,
        migrated_database: Database,
        owner_connection: DriverConnection,
        rounds: int,
    ) -> None:
        # given
        rng = Random(3)  # noqa: S311 - a workload, not a secret
        lifecycle, queue = (
            LifecycleRepository(LifecycleDBSource(engine)),
            SessionRepository(SessionDBSource(engine)),
        )
        numbers = iter(range(100_000, 200_000))
        live: set[int] = set(LIVE)
        purged = kept = 0

        async def enqueue_dependants(on: Sequence[SessionId]) -> None:
            for _ in range(5):
                number = next(numbers)
                await queue.enqueue_sessions([session(number, 1, depends_on=tuple(rng.sample(on, 2)))])
                live.add(number)

        async def finish_and_requeue() -> None:
            for number in rng.sample(sorted(live), 4):
                await set_status(owner_connection, number, "RUNNING", days=50)
                if rng.random() < 0.5:
                    await lifecycle.requeue_sessions([SessionRetry(session_id(number))])
                else:
                    await lifecycle.mark_terminated([SessionEnd(session_id(number))])
                    live.discard(number)

        async def grow_old() -> None:
            async with migrated_database.driver_as(OWNER) as driver:
                for _ in range(5):
                    await driver.execute(
                        "UPDATE sessions SET status_changed_at = now() - interval '40 days' WHERE id IN"
                        " (SELECT id FROM sessions WHERE status = 'TERMINATED' ORDER BY random() LIMIT 3)"
                    )

        async def needs() -> set[tuple[SessionId, SessionId]]:
            """Unfinished sessions, each with one that it depends on, whether that is there or not."""
            rows = await owner_connection.fetch(
                "SELECT d.session_id, d.depends_on"
                " FROM session_dependencies AS d JOIN sessions AS s ON s.id = d.session_id"
                " WHERE s.status NOT IN ('TERMINATED', 'CANCELLED', 'ERROR')"
            )
            return {(row["session_id"], row["depends_on"]) for row in rows}

        for turn in itertools.count():
            # Until enough was purged, and enough kept.
            if turn >= rounds and (min(purged, kept) > rounds or turn >= 10 * rounds):
                break
            old = range(1_000 * turn + 1_000, 1_000 * turn + 1_020)
            await add_finished(owner_connection, old, days=35 if turn % 2 else 29)
            await enqueue_dependants([session_id(each) for each in old])
            there_before = await existing(owner_connection)
            needs_before = {need for need in await needs() if need[1] in there_before}
            # when
            async with asyncio.TaskGroup() as group:
                purging = [group.create_task(retention.purge(MONTH, batch_size=3)) for _ in range(2)]
                group.create_task(enqueue_dependants([session_id(each) for each in old]))
                group.create_task(finish_and_requeue())
                group.create_task(grow_old())
            results = [task.result() for task in purging]
            purged += sum(done.sessions for done in results)
            kept += sum(done.kept_sessions for done in results)
            # then
            there = await existing(owner_connection)
            assert {session_id(number) for number in live} <= there
            assert {needed for _, needed in needs_before & await needs()} <= there
            assert (
                await owner_connection.fetchval(
                    "SELECT count(*) FROM sessions AS s WHERE NOT EXISTS"
                    " (SELECT FROM kernels AS k WHERE k.session_id = s.id)"
                )
                == 0
            )
        assert purged > rounds
        assert kept > rounds
