"""The role that purges deletes what is finished and old, and can delete or rewrite nothing else."""

from collections.abc import AsyncIterator
from datetime import timedelta

import asyncpg
import pytest

from scheduler_repo.repositories.retention.repository import RetentionRepository
from tests.support.databases import ADMIN, READER, SCHEDULER, Database, DriverConnection
from tests.support.old_rows import (
    LIVE,
    add_agent_history,
    add_finished,
    add_operations,
    depend,
    existing,
    rows_of,
    set_status,
)
from tests.support.small_cluster import session_id

OLD = range(100, 104)
MONTH = timedelta(days=30)
TABLES = ("sessions", "kernels", "session_history", "agent_history", "operations")
# Everything that the scheduler may call, for any time and any session.
CALLS = (
    "SELECT * FROM purge_sessions((SELECT array_agg(id) FROM sessions), 'infinity')",
    "SELECT * FROM purge_agent_history('infinity', NULL, NULL, 2147483647)",
    "SELECT * FROM purge_operations('infinity', NULL, 2147483647)",
    "SELECT take_back_sessions((SELECT array_agg(id) FROM sessions))",
    "SELECT fold_usage()",
    "SELECT trim_changes('-100 years', 2147483647)",
    "SELECT rebuild_usage()",
    "SELECT renew_server_life()",
)
DEFINED = f"""
SELECT p.oid::regprocedure::text AS name, p.oid::regproc::text AS short_name, p.proconfig,
       p.prorettype = 'trigger'::regtype AS is_triggers, p.provolatile = 'v' AS may_write,
       has_function_privilege('{SCHEDULER}', p.oid, 'EXECUTE') AS is_schedulers,
       has_function_privilege('{READER}', p.oid, 'EXECUTE') AS is_readers
FROM pg_proc AS p
WHERE p.pronamespace = 'public'::regnamespace AND p.prosecdef
"""


@pytest.fixture
async def scheduler(
    migrated_database: Database, owner_connection: DriverConnection
) -> AsyncIterator[DriverConnection]:
    async with migrated_database.driver_as(SCHEDULER) as driver:
        yield driver


async def rows_left(connection: DriverConnection) -> dict[str, int]:
    return {table: await connection.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


class TestFunctions:
    async def test_all_that_run_with_the_owners_rights_are_tried_here(
        self, owner_connection: DriverConnection
    ) -> None:
        found = await owner_connection.fetch(DEFINED)
        callable_ones = {row["short_name"] for row in found if row["may_write"] and not row["is_triggers"]}
        # One of them only locks.
        assert callable_ones - {"hold_quotas"} == {call.partition("(")[0].split()[-1] for call in CALLS}
        for row in found:
            if row["may_write"]:
                # A trigger's function runs for whoever fires it, without this privilege.
                rights = (not row["is_triggers"], False)
                assert (row["is_schedulers"], row["is_readers"]) == rights, row["name"]
            # Memory is no right.
            config = [each for each in row["proconfig"] if not each.startswith("work_mem=")]
            assert config == ["search_path=public, pg_temp"], row["name"]

    async def test_delete_nothing_that_is_unfinished_or_young(
        self, scheduler: DriverConnection, owner_connection: DriverConnection
    ) -> None:
        # given: what has ended within the hour, and what has long been so but has not ended
        await owner_connection.execute("DELETE FROM operations; DELETE FROM agent_history")
        await add_finished(owner_connection, OLD, days=0)
        await add_operations(owner_connection, 3, days=0)
        await add_agent_history(owner_connection, "a1", 3, days=0)
        for number in LIVE:
            await set_status(owner_connection, number, "RUNNING", days=100)
        await owner_connection.execute("UPDATE session_history SET changed_at = now() - interval '100 days'")
        before = await rows_left(owner_connection)
        # when
        for call in CALLS:
            await scheduler.execute(call)
        # then
        assert await rows_left(owner_connection) == before

    async def test_keep_what_unfinished_sessions_depend_on(
        self, scheduler: DriverConnection, owner_connection: DriverConnection
    ) -> None:
        await add_finished(owner_connection, OLD)
        await depend(owner_connection, LIVE[0], on=OLD[0])
        await scheduler.execute(CALLS[0])
        assert await existing(owner_connection) == {session_id(number) for number in (*LIVE, OLD[0])}

    async def test_believe_no_time_that_the_scheduler_has_written(
        self, scheduler: DriverConnection, owner_connection: DriverConnection
    ) -> None:
        # given: a session that ends now, as if long ago
        await scheduler.execute(
            "UPDATE sessions SET status = 'CANCELLED', status_changed_at = '2001-01-01' WHERE id = $1",
            session_id(LIVE[0]),
        )
        before = await rows_of(owner_connection, [LIVE[0]])
        # when
        await scheduler.execute(CALLS[0])
        # then
        assert await rows_of(owner_connection, [LIVE[0]]) == before

    async def test_take_back_only_what_the_transaction_itself_has_made(
        self, scheduler: DriverConnection, owner_connection: DriverConnection
    ) -> None:
        await add_finished(owner_connection, OLD)
        before = await rows_left(owner_connection)
        async with scheduler.transaction():
            # its newest versions are this transaction's
            await scheduler.execute("UPDATE sessions SET priority = priority + 1")
            await scheduler.execute(CALLS[-1])
        assert await rows_left(owner_connection) == before

    async def test_are_not_led_elsewhere_by_the_callers_search_path(
        self, owner_connection: DriverConnection, migrated_database: Database
    ) -> None:
        # given: tables and functions of the same names before those of the schema
        await add_finished(owner_connection, OLD)
        await migrated_database.run_as(
            ADMIN,
            f"CREATE SCHEMA shadow; GRANT ALL ON SCHEMA shadow TO {SCHEDULER};"
            f"GRANT TEMPORARY ON DATABASE {migrated_database.name} TO {SCHEDULER}",
        )
        async with migrated_database.driver_as(SCHEDULER) as scheduler:
            await scheduler.execute(
                "CREATE TABLE shadow.sessions (LIKE public.sessions);"
                "CREATE TEMPORARY TABLE session_history (LIKE public.session_history);"
                "CREATE FUNCTION shadow.statement_timestamp() RETURNS timestamptz"
                " LANGUAGE sql AS $$SELECT timestamptz '-infinity'$$;"
                "SET search_path = shadow, pg_temp, public, pg_catalog"
            )
            # when
            ids = [session_id(number) for number in OLD]
            done = await scheduler.fetchrow("SELECT * FROM public.purge_sessions($1, now())", ids)
            # then
            assert tuple(done or ()) == (4, 8)


class TestHistory:
    @pytest.mark.parametrize("table", ["session_history", "agent_history"])
    async def test_its_rows_are_only_added_with_the_servers_id_and_time(
        self, scheduler: DriverConnection, owner_connection: DriverConnection, table: str
    ) -> None:
        # given: every column that the server fills in itself
        columns = await owner_connection.fetch(
            "SELECT attname::text AS name, attidentity <> '' AS is_identity FROM pg_attribute"
            " WHERE attrelid = $1::text::regclass AND attnum > 0 AND (atthasdef OR attidentity <> '')",
            table,
        )
        assert {row["name"] for row in columns} == {"id", "changed_at"}
        all_columns = await owner_connection.fetch(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0", table
        )
        given = [
            f"INSERT INTO {table} ({row['name']}) OVERRIDING SYSTEM VALUE VALUES (NULL)" for row in columns
        ]
        changed = [f"UPDATE {table} SET {row[0]} = {row[0]}" for row in all_columns]
        # then
        for statement in (*given, *changed, f"DELETE FROM {table}", f"TRUNCATE {table}"):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.GeneratedAlwaysError)):
                await scheduler.execute(statement)

    async def test_goes_with_its_session_in_a_purge(
        self, retention: RetentionRepository, owner_connection: DriverConnection
    ) -> None:
        await add_finished(owner_connection, OLD)
        done = await retention.purge(MONTH)
        assert done.sessions == len(OLD)
        assert not (await rows_of(owner_connection, OLD))["session_history"]
