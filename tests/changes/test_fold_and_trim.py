"""The log of usage is folded and both logs are trimmed, whoever else writes, folds and trims meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Final

import asyncpg
import pytest

from scheduler_repo.errors import InvalidInput, SchedulerRepoError
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.types import OwnerScope
from tests.changes.usage import COUNTED, KEPT, OWNERS, add_session, read_usage
from tests.support.databases import ADMIN, OWNER, Database, DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import DOMAIN, GROUP, agent, cluster, place, session, session_id

_KEEPS: Final = "SET LOCAL scheduler_repo.keeps_changes = 'on';"
_LONG_AGO: Final = f"{_KEEPS} UPDATE change_floor SET next_floor_at = now() - interval '1 hour'"
_AHEAD: Final = f"{_KEEPS} UPDATE change_floor SET next_floor_at = now() + interval '1 hour'"
_SESSION: Final = "'00000000-0000-0000-0000-000000000001'"
_LOGGED: Final = "SELECT count(*) FROM usage_log"
_UNFOLDED: Final = "SELECT count(*) FROM unfolded_usage"


@pytest.fixture
async def other(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    async with migrated_database.driver_as(OWNER) as driver:
        yield driver


@pytest.fixture
async def _three_sessions(load: Load) -> None:
    await load(cluster([agent("a1")], [session(number, 1) for number in range(3)]))


async def _occupied(scheduler: SchedulerRepository) -> tuple[int, int]:
    """How many sessions and cores the domain occupies."""
    (usage,) = (await scheduler.get_scheduling_data(GROUP)).owners_of(OwnerScope.DOMAIN)
    assert usage.owner_id == DOMAIN
    return usage.session_count, usage.occupied[0]


async def _place(scheduler: SchedulerRepository, number: int) -> None:
    assert (await scheduler.allocate_sessions(GROUP, [place(number, "a1")])).allocated == (session_id(number),)


@pytest.mark.usefixtures("_three_sessions")
class TestFold:
    async def test_what_it_folds_counts_once(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        assert await _occupied(scheduler) == (1, 1)

        assert await scheduler.fold_usage() == 2

        assert await _occupied(scheduler) == (1, 1)
        assert await owner_connection.fetchval(_LOGGED) == 2
        assert await scheduler.fold_usage() == await owner_connection.fetchval(_UNFOLDED) == 0
        await _place(scheduler, 1)
        assert await _occupied(scheduler) == (2, 2)

    async def test_what_is_committed_after_it_counts(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        # given a transaction that is older than a fold
        await owner_connection.execute(
            f"BEGIN; UPDATE sessions SET status = 'RUNNING' WHERE id = '{session_id(2)}'"
        )
        await _place(scheduler, 0)
        assert await scheduler.fold_usage() == 2
        # when it goes on and ends
        await owner_connection.execute(
            "UPDATE kernels SET status = 'RUNNING', agent_id = 'a1', occupied_slots = '{4}'"
            f" WHERE session_id = '{session_id(2)}'; COMMIT"
        )
        # then
        assert await _occupied(scheduler) == (2, 5)
        assert await scheduler.fold_usage() == 2
        assert await _occupied(scheduler) == (2, 5)

    async def test_may_be_a_part_of_a_transaction_that_writes(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        run = "UPDATE sessions SET status = 'RUNNING' WHERE id = '{}'"
        await owner_connection.execute(
            f"BEGIN; {run.format(session_id(1))}; SELECT fold_usage(); {run.format(session_id(2))}; COMMIT"
        )
        assert await owner_connection.fetchval(_UNFOLDED) == 2
        assert await scheduler.fold_usage() == 2
        assert (
            await owner_connection.fetchval("SELECT session_count FROM owner_usage WHERE scope = 'DOMAIN'") == 3
        )

    async def test_in_pieces_it_folds_whole_transactions_from_the_oldest_on(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        # given a transaction that goes on beside three placements of two rows each
        await other.execute(f"BEGIN; UPDATE sessions SET status = 'RUNNING' WHERE id = '{session_id(2)}'")
        for number in range(2):
            await _place(scheduler, number)
        fold = "SELECT fold_usage(1)"
        # when, then
        assert await owner_connection.fetchval(fold) == 2
        assert await owner_connection.fetchval(_UNFOLDED) == 2
        assert await _occupied(scheduler) == (2, 2)
        await other.execute("COMMIT")
        assert await owner_connection.fetchval(_UNFOLDED) == 3
        assert await owner_connection.fetchval(fold) == 3
        assert await owner_connection.fetchval(fold) == await owner_connection.fetchval(_UNFOLDED) == 0
        assert await read_usage(owner_connection, KEPT) == await read_usage(owner_connection, COUNTED)

    async def test_whose_process_is_killed_halfway_has_changed_nothing(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        # given a fold that waits with its sums made, for a row that somebody holds
        assert await owner_connection.fetchval("SELECT fold_usage()") == 2
        await _place(scheduler, 1)
        await other.execute("BEGIN; SELECT FROM owner_usage FOR UPDATE")
        fold = asyncio.create_task(owner_connection.fetchval("SELECT fold_usage()"))
        pid = owner_connection.get_server_pid()
        while not await other.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid):
            assert not fold.done()
        # when
        await other.execute(f"SELECT pg_terminate_backend({pid}, 5000); ROLLBACK")
        # then
        with pytest.raises(asyncpg.PostgresConnectionError):
            await fold
        assert await other.fetchval(_UNFOLDED) == 2
        assert await _occupied(scheduler) == (2, 2)
        assert await scheduler.fold_usage() == 2
        assert await _occupied(scheduler) == (2, 2)

    async def test_lets_another_one_be(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        async with owner_connection.transaction():
            assert await owner_connection.fetchval("SELECT fold_usage()") == 2
            assert await scheduler.fold_usage() is None
            assert await scheduler.trim_changes() is None
            # Nobody waits for it who writes and reads.
            await _place(scheduler, 1)
            assert await _occupied(scheduler) == (2, 2)
        assert await _occupied(scheduler) == (2, 2)

    async def test_one_in_an_older_snapshot_folds_nothing_twice(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        await owner_connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert await owner_connection.fetchval(_UNFOLDED) == 2
        assert await scheduler.fold_usage() == 2
        with pytest.raises(asyncpg.SerializationError):
            await owner_connection.fetchval("SELECT fold_usage()")
        await owner_connection.execute("ROLLBACK")
        assert await _occupied(scheduler) == (1, 1)

    async def test_what_was_restored_from_another_cluster_is_refused_until_it_is_counted(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        # given transaction ids of the future, and what was written since
        await owner_connection.execute(f"{_KEEPS} UPDATE change_floor SET folded = '4000000000:4000000000:'")
        await owner_connection.execute(f"UPDATE sessions SET status = 'RUNNING' WHERE id = '{session_id(2)}'")
        for statement in ("SELECT count(*) FROM unfolded_usage", "SELECT count(*) FROM usage_parts"):
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="from another cluster"):
                await owner_connection.fetchval(statement)
        with pytest.raises(SchedulerRepoError, match="from another cluster"):
            await scheduler.get_scheduling_data(GROUP)
        with pytest.raises(SchedulerRepoError, match="from another cluster"):
            await scheduler.allocate_sessions(GROUP, [place(0, "a1")])

        assert await scheduler.fold_usage() == 0

        assert (
            await owner_connection.fetchval("SELECT session_count FROM owner_usage WHERE scope = 'DOMAIN'") == 1
        )
        await owner_connection.execute("UPDATE sessions SET status = 'TERMINATED'")
        assert await owner_connection.fetchval(_UNFOLDED) == 1

    async def test_what_was_restored_counts_once_though_a_transaction_here_has_its_id(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        # given rows of another cluster's, written by a transaction whose id is that of one that runs here
        await _place(scheduler, 0)
        await other.execute("BEGIN")
        running = await other.fetchval("SELECT pg_current_xact_id()::text")
        await owner_connection.execute(
            f"{_KEEPS} UPDATE change_floor SET cluster = 7; UPDATE usage_log SET xid = '{running}'"
        )
        assert (await scheduler.get_scheduling_data(GROUP)).token.history is None
        # when
        for _ in range(2):
            await scheduler.fold_usage()
            assert await _occupied(scheduler) == (1, 1)
        await other.execute("COMMIT")
        await scheduler.fold_usage()
        # then
        assert await _occupied(scheduler) == (1, 1)
        assert (await scheduler.get_scheduling_data(GROUP)).token.history is not None

    async def test_what_was_restored_without_its_floor_is_refused_until_it_is_counted(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        """As a dump of the schema alone has it; else all owners would seem to occupy nothing."""
        # given
        await owner_connection.execute(f"BEGIN; {_KEEPS} TRUNCATE change_floor, usage_log, owner_usage; COMMIT")
        await owner_connection.execute(f"UPDATE sessions SET status = 'RUNNING' WHERE id = '{session_id(2)}'")
        with pytest.raises(SchedulerRepoError, match=r"in part.*; run scheduler-repo db upgrade"):
            await scheduler.allocate_sessions(GROUP, [place(0, "a1")])
        # when
        assert await scheduler.fold_usage() == 0
        # then
        assert await _occupied(scheduler) == (1, 0)


async def test_both_go_on_where_every_table_is_published(
    migrated_database: Database, owner_connection: DriverConnection
) -> None:
    """A publication refuses changes of a table whose rows nothing identifies; so does an upgrade then."""
    await migrated_database.run_as(ADMIN, "CREATE PUBLICATION everything FOR ALL TABLES")
    await owner_connection.execute(f"{OWNERS}; {add_session(_SESSION, 0, 0)}")
    await owner_connection.execute("UPDATE sessions SET status = 'RUNNING'")
    assert await owner_connection.fetchval("SELECT fold_usage()") == 1
    for _ in range(2):
        await owner_connection.execute(_LONG_AGO)
        trimmed = await owner_connection.fetchval("SELECT trim_changes('1 minute', 1000)")
    assert trimmed > 1
    await owner_connection.execute("SELECT rebuild_usage()")
    assert await read_usage(owner_connection, KEPT) == await read_usage(owner_connection, COUNTED)


@pytest.mark.usefixtures("_three_sessions")
class TestTrim:
    async def test_keeps_what_is_younger(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        await scheduler.fold_usage()
        assert await scheduler.trim_changes(timedelta(minutes=1)) == 0
        await owner_connection.execute(_LONG_AGO)
        before = await owner_connection.fetchval("SELECT next_floor FROM change_floor")

        assert await scheduler.trim_changes() == 0

        assert await owner_connection.fetchval("SELECT floor FROM change_floor") == before
        assert await owner_connection.fetchval(_LOGGED) == 2

    async def test_removes_exactly_what_the_floor_sees(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection, other: DriverConnection
    ) -> None:
        # given a transaction that the floor does not see
        await other.execute(f"BEGIN; UPDATE sessions SET status = 'RUNNING' WHERE id = '{session_id(2)}'")
        await _place(scheduler, 0)
        await scheduler.fold_usage()
        await owner_connection.execute(_LONG_AGO)
        await scheduler.trim_changes()
        await _place(scheduler, 1)
        await other.execute("COMMIT")
        await owner_connection.execute(_LONG_AGO)
        unfolded = await owner_connection.fetchval(_UNFOLDED)
        # when
        trimmed = await scheduler.trim_changes(batch_size=1)
        rest = await scheduler.trim_changes()
        # then
        assert trimmed == 2
        assert rest
        for table in ("change_log", "usage_log"):
            left = await owner_connection.fetchval(
                f"SELECT count(*) FROM {table}, change_floor WHERE pg_visible_in_snapshot(xid, floor)"
            )
            assert left == 0
        assert await owner_connection.fetchval(_UNFOLDED) == unfolded == 3
        assert await owner_connection.fetchval("SELECT count(*) FROM change_log WHERE kind = 's'") == 3

    async def test_keeps_what_is_not_folded(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await _place(scheduler, 0)
        for _ in range(2):
            await owner_connection.execute(_LONG_AGO)
            await scheduler.trim_changes()
        assert await owner_connection.fetchval("SELECT count(*) FROM change_log") == 0
        assert await owner_connection.fetchval(_UNFOLDED) == 2

    async def test_does_not_wait_for_a_clock_that_was_ahead(
        self, scheduler: SchedulerRepository, owner_connection: DriverConnection
    ) -> None:
        await owner_connection.execute(_AHEAD)
        await scheduler.trim_changes()
        assert await owner_connection.fetchval("SELECT next_floor_at <= now() FROM change_floor")

    async def test_refuses_times_and_sizes_that_are_none(self, scheduler: SchedulerRepository) -> None:
        with pytest.raises(InvalidInput, match="kept_for"):
            await scheduler.trim_changes(timedelta(seconds=59))
        with pytest.raises(InvalidInput, match="batch_size"):
            await scheduler.trim_changes(batch_size=0)
