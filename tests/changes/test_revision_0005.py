"""The revision that adds the logs is made beside writers, who lose nothing; its dump goes anywhere."""

import asyncio
import subprocess
from itertools import count
from pathlib import Path
from typing import Final

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database.schema.catalog import set_search_path
from scheduler_repo.database.schema.upgrade import downgrade_schema, migrate, upgrade_schema
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.embedded.installation import postgres_of_wheel
from scheduler_repo.testing.memory_folder import memory_folder
from tests.changes.usage import COUNTED, KEPT, OWNERS, TRIGGERS_OF_OTHERS, add_session, read_usage
from tests.support.databases import ADMIN, OWNER, Database, DatabaseServer, DriverConnection
from tests.support.waiting import PATIENCE

_WRITERS: Final = 3


async def _write(database: Database, number: int, done: asyncio.Event, wrote: list[int]) -> None:
    """Run sessions in transactions that hold one table while they want the next, in two orders."""
    async with database.driver_as(OWNER) as driver:
        for turn in count(1):
            if done.is_set():
                return
            session = f"'{number:08d}-0000-0000-0000-{turn:012d}'"
            await driver.execute(add_session(session, number % 3, turn % 2))
            tables = [
                f"UPDATE sessions SET status = 'RUNNING' WHERE id = {session}",
                "UPDATE kernels SET status = 'RUNNING', agent_id = 'a1', occupied_slots = '{1,2}'"
                f" WHERE session_id = {session}",
            ]
            first, second = tables if number % 2 else reversed(tables)
            async with driver.transaction():
                await driver.execute(first)
                await asyncio.sleep(0.005)
                await driver.execute(second)
            wrote[number] = turn


async def _until_each_has_written(observer: DriverConnection, least: list[int], wrote: list[int]) -> None:
    async with asyncio.timeout(PATIENCE):
        while any(now < then for now, then in zip(wrote, least, strict=True)):
            await observer.execute("SELECT pg_sleep(0.01)")


async def test_writers_go_on_and_all_that_they_write_counts(empty_database: Database) -> None:
    # given writers in a database of the revision before
    async with empty_database.connect_as(OWNER) as connection, connection.begin():
        await set_search_path(connection, "public")
        await connection.run_sync(migrate, "0004")
    await empty_database.run_as(OWNER, OWNERS)
    done, wrote = asyncio.Event(), [0] * _WRITERS
    async with asyncio.TaskGroup() as writers, empty_database.driver_as(OWNER) as observer:
        for number in range(_WRITERS):
            writers.create_task(_write(empty_database, number, done, wrote))
        await _until_each_has_written(observer, [3] * _WRITERS, wrote)
        # when
        async with empty_database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        # then none of them has failed, and they go on
        await _until_each_has_written(observer, [each + 1 for each in wrote], wrote)
        done.set()
    async with empty_database.driver_as(OWNER) as observer:
        usage = await read_usage(observer, KEPT)
        assert usage == await read_usage(observer, COUNTED)
        assert sum(usage["DOMAIN", f"d{number}"][0] for number in range(2)) == sum(wrote)


async def test_a_writer_that_does_not_end_is_not_waited_for_for_ever(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who writes something else meanwhile waits for the migration, but for a moment."""
    async with empty_database.connect_as(OWNER) as connection, connection.begin():
        await set_search_path(connection, "public")
        await connection.run_sync(migrate, "0004")
    await empty_database.run_as(OWNER, OWNERS)
    async with (
        empty_database.driver_as(OWNER) as stopped,
        empty_database.driver_as(OWNER) as writer,
        empty_database.connect_as(OWNER) as connection,
    ):
        await stopped.execute("BEGIN; UPDATE slot_types SET display_unit = 'x'")
        upgrade = asyncio.create_task(upgrade_schema(connection))
        for number in range(20):
            await writer.execute("SET lock_timeout = '900ms'")
            await writer.execute(add_session(f"'00000000-0000-0000-0000-{number:012d}'", 0, 0))
        assert not upgrade.done()
        await stopped.execute("COMMIT")
        await upgrade


async def test_a_downgrade_leaves_triggers_of_others(migrated_database: Database) -> None:
    await migrated_database.run_as(OWNER, TRIGGERS_OF_OTHERS)
    async with migrated_database.connect_as(OWNER) as connection:
        await downgrade_schema(connection, "0004")
    async with migrated_database.driver_as(OWNER) as driver:
        kept = await driver.fetch("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'log%'")
    assert sorted(table for (table,) in kept) == ["notes", "sessions"]


def _run(program: str, database: Database, *arguments: str, script: str = "") -> str:
    url = sa.make_url(database.url_as(ADMIN)).set(drivername="postgresql")
    command = [str(Path(postgres_of_wheel(), program)), "-d", url.render_as_string(hide_password=False)]
    done = subprocess.run([*command, *arguments], input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
async def test_a_dump_in_another_cluster_is_refused_until_it_is_upgraded(migrated_database: Database) -> None:
    # given what runs, partly folded, in a cluster that has seen more transactions than a new one
    async with migrated_database.driver_as(OWNER) as driver:
        await driver.execute(OWNERS)
        for number in range(6):
            session = f"'00000000-0000-0000-0000-{number:012d}'"
            await driver.execute(add_session(session, number % 3, number % 2))
            await driver.execute(f"UPDATE sessions SET status = 'RUNNING' WHERE id = {session}")
            await driver.execute(
                "UPDATE kernels SET status = 'RUNNING', agent_id = 'a1', occupied_slots = '{1}'"
            )
            if number == 3:
                await driver.execute("SELECT fold_usage()")
        for _ in range(3000):
            await driver.execute("SELECT pg_current_xact_id()")
        await driver.execute("UPDATE agents SET max_containers = 9; SELECT fold_usage()")
        await driver.execute(f"UPDATE sessions SET status = 'ERROR' WHERE id = {session}")
        expected = await read_usage(driver, COUNTED)
    dump = _run("pg_dump", migrated_database)
    with EmbeddedPostgres(parent=memory_folder()) as server:
        restored = await DatabaseServer(server.url("postgres", "postgres")).create_database()
        roles = ("scheduler_repo_owner", "scheduler_repo_scheduler", "scheduler_repo_reader")
        await restored.run_as(ADMIN, ";".join(f"CREATE ROLE {role} LOGIN" for role in roles))
        await restored.run_as(ADMIN, f"GRANT ALL ON SCHEMA public TO {OWNER}")
        _run("psql", restored, "-v", "ON_ERROR_STOP=1", "-q", script=dump)
        async with restored.driver_as(OWNER) as driver:
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="from another cluster"):
                await read_usage(driver, KEPT)
            # when
            async with restored.connect_as(OWNER) as connection:
                await upgrade_schema(connection)
            # then
            assert await read_usage(driver, KEPT) == expected
            await driver.execute("UPDATE sessions SET status = 'ERROR'")
            assert await read_usage(driver, KEPT) == await read_usage(driver, COUNTED) != expected
