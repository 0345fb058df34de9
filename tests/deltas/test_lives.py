"""The law over the lives of a database, killed, restored, copied, promoted; its readers are not told of it."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Final, Optional

import asyncpg
import pytest

from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.entities.snapshot_changes import FullReadReason
from tests.deltas.engine_writes import ENGINE_WRITES
from tests.deltas.world import QUESTIONS, World
from tests.deltas.writes import WRITES, prioritise
from tests.support.client_programs import run_client
from tests.support.databases import ADMIN, OWNER, Database, DatabaseServer
from tests.support.own_server import own_database, own_empty_database
from tests.support.rows import KEPT_BY_DATABASE
from tests.support.standby import fail_over, standby_of
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

_STEPS: Final = 12
# Nothing of an asynchronous commit is flushed before the server is killed.
_UNFLUSHED: Final = {
    "synchronous_commit": "off",
    "wal_writer_delay": "10s",
    "wal_writer_flush_after": "1GB",
    "checkpoint_timeout": "1h",
    "max_prepared_transactions": "5",
}
# What other versions of the server refuse (15.20 writes pg_attver), and what each database has already.
_NOT_RESTORED: Final = re.compile(
    r"^(SET transaction_timeout = 0;|CREATE SCHEMA public;|ALTER TABLE .* SET \(pg_attver=\d+\);)\n",
    re.MULTILINE,
)
_LOST_WRITE: Final = "UPDATE agents SET address = 'tcp://lost'"
_IS_THERE: Final = "SELECT count(*) FROM agents WHERE address = 'tcp://lost'"
_TRUNCATION: Final = """
SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ')
FROM pg_tables
WHERE schemaname = 'public' AND tablename <> ALL ($1 || '{scheduler_repo_schema_version}'::text[])
"""
_ENABLING: Final = """
DO $$
DECLARE
    logging record;
BEGIN
    FOR logging IN
        SELECT tgrelid::regclass AS logged, tgname AS name FROM pg_trigger WHERE tgname LIKE 'log%'
    LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', logging.logged, logging.name);
    END LOOP;
END
$$;
SELECT rebuild_usage()
"""
_UNFLUSHED_BYTES: Final = "SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()"


@asynccontextmanager
async def world_of(database: Database, redis_url: str, former: Optional[World] = None) -> AsyncIterator[World]:
    """Writers and an engine on a database; the readers are those of a former world, and have what they held."""
    world = World(database, redis_url, has_two_phases=True)
    await world.open()
    try:
        if former is None:
            await world.begin_again()
        else:
            await world.take_over(former)
        yield world
    finally:
        await world.close()


async def live(world: World, seed: int) -> None:
    """Write at random, as everybody does, and follow it."""
    rng = Random(seed)  # noqa: S311 - a workload, not a secret
    for _ in range(_STEPS):
        await world.write(0, rng.choice(WRITES), rng)
        await world.write_by_engine(rng.choice(ENGINE_WRITES), rng)
        await world.answers.check(rng.choice(QUESTIONS))
    await read_all(world)


async def read_all(world: World) -> None:
    """Bring every answer up to date, the tracker's and what Redis has too, each held against a full read."""
    await world.answers.check_all()
    await world.ask_in_turn(QUESTIONS)
    for scaling_group in {question[0] for question in QUESTIONS}:
        # Draws that it is stored again.
        await world.start_from_redis(scaling_group, Random(1))  # noqa: S311 - a workload, not a secret
    await world.check_usage()


def told(world: World, before: Counter[str], reader: str = "") -> set[str]:
    """What came of reads since, by one kind of reader: those who hold answers, the tracker's, or from Redis."""
    new = {*(world.outcomes - before)}
    if reader:
        return {name.removeprefix(f"{reader}: ") for name in new if name.startswith(f"{reader}: ")}
    return new & {"changes", "unchanged", *FullReadReason}


async def assert_read_anew(world: World, *reasons: str) -> None:
    """Read everything once, for one of these reasons; from then on changes suffice again."""
    before = world.outcomes.copy()
    await read_all(world)
    assert told(world, before) <= {*reasons}
    assert told(world, before, "tracker") <= {*reasons}
    # What Redis has of another database is not even looked at.
    assert told(world, before, "redis") <= {*reasons, "first"}
    await live(world, 3)
    assert world.outcomes["changes"] > before["changes"]
    assert world.outcomes["tracker: changes"] > before["tracker: changes"]


async def until_back(database: Database) -> None:
    """Return when a server that was killed lets somebody in again."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                await database.run_as(ADMIN, "SELECT 1")
            except (asyncpg.PostgresError, OSError):
                await asyncio.sleep(0.01)
            else:
                return


Kill = Callable[[EmbeddedPostgres, World], Awaitable[None]]


async def kill_server(server: EmbeddedPostgres, _world: World) -> None:
    os.kill(server.pid, signal.SIGKILL)
    await asyncio.to_thread(server.restart, "immediate")


async def kill_backend(_server: EmbeddedPostgres, world: World) -> None:
    """All of the server's memory is made anew, and its start time is what it was."""
    os.kill(await world.writers[0].fetchval("SELECT pg_backend_pid()"), signal.SIGKILL)


@pytest.mark.parametrize("kill", [kill_server, kill_backend])
async def test_killed_with_unflushed_wal(kill: Kill, redis_url: str) -> None:
    async with own_database(_UNFLUSHED) as (server, database):
        for _ in range(20):
            async with world_of(database, redis_url) as world:
                await live(world, 1)
                await world.begin(1)
                await world.write(1, prioritise, Random(1))  # noqa: S311 - a workload, not a secret
                await world.prepare(1)
                # Preparing has flushed what was before it; these are read, and lost.
                await world.writers[0].execute(_LOST_WRITE)
                await read_all(world)
                unflushed = await world.writers[0].fetchval(_UNFLUSHED_BYTES)
                await kill(server, world)
                world.abandon()
            await until_back(database)
            async with world_of(database, redis_url, world) as after:
                if unflushed == 0 or await after.writers[0].fetchval(_IS_THERE):
                    continue
                await assert_read_anew(after, "no_history", "crashed", "restarted")
                await after.end_prepared(1, "COMMIT")
                await read_all(after)
            return
        pytest.fail("the server never lost anything")


class TestRestored:
    async def test_from_a_dump_into_a_new_cluster(self, fresh_database: Database, redis_url: str) -> None:
        async with world_of(fresh_database, redis_url) as world:
            await live(world, 1)
            dump = await asyncio.to_thread(run_client, "pg_dump", fresh_database, ADMIN, "--schema=public")
            # What the readers have seen since is not in the dump.
            await live(world, 2)
        async with own_empty_database({"max_prepared_transactions": "5"}) as (_, database):
            await restore(database, dump)
            async with world_of(database, redis_url, world) as after:
                await assert_read_anew(after, "other_database")

    async def test_from_a_dump_into_the_same_cluster(
        self,
        fresh_database: Database,
        postgres_server: DatabaseServer,
        empty_template: Database,
        redis_url: str,
    ) -> None:
        async with world_of(fresh_database, redis_url) as world:
            await live(world, 1)
            dump = await asyncio.to_thread(run_client, "pg_dump", fresh_database, ADMIN, "--schema=public")
            await live(world, 2)
        database = await postgres_server.create_database(empty_template)
        try:
            await restore(database, dump)
            async with world_of(database, redis_url, world) as after:
                await assert_read_anew(after, "other_database")
        finally:
            await postgres_server.drop_database(database)

    @pytest.mark.parametrize("disables_triggers", [False, True])
    async def test_from_a_dump_of_the_rows_into_the_same_database(
        self, fresh_database: Database, redis_url: str, *, disables_triggers: bool
    ) -> None:
        options = ["--data-only", "--schema=public", "--exclude-table=public.scheduler_repo_schema_version"]
        if disables_triggers:
            options += [
                "--disable-triggers",
                *(f"--exclude-table=public.{table}" for table in KEPT_BY_DATABASE),
            ]
        async with world_of(fresh_database, redis_url) as world:
            await live(world, 1)
            dump = await asyncio.to_thread(run_client, "pg_dump", fresh_database, ADMIN, *options)
            await live(world, 2)
            await world.writers[0].execute(await world.writers[0].fetchval(_TRUNCATION, KEPT_BY_DATABASE))
            await restore(fresh_database, dump)
            if not disables_triggers:
                # The grants of an upgrade are given to the triggers' functions anew.
                await assert_read_anew(world, "everything", "triggers_changed")
                return
            # They fire again, but not for a replica's writes.
            await world.answers.check_all()
            assert world.outcomes["no_history"] == len(QUESTIONS)
            await world.writers[0].execute(_ENABLING)
            await assert_read_anew(world, "no_history", "triggers_changed")


async def restore(database: Database, dump: str) -> None:
    """As its README says: the rows, and then ``db upgrade``."""
    script = _NOT_RESTORED.sub("", dump)
    await asyncio.to_thread(
        run_client, "psql", database, ADMIN, "-v", "ON_ERROR_STOP=1", "-q", "-1", script=script
    )
    async with database.connect_as(OWNER) as connection:
        await upgrade_schema(connection)


async def test_cloned_by_template(
    fresh_database: Database, postgres_server: DatabaseServer, redis_url: str
) -> None:
    async with world_of(fresh_database, redis_url) as world:
        await live(world, 1)
    clone = await postgres_server.create_database(fresh_database)
    try:
        # The original goes on, and its readers with it.
        async with world_of(fresh_database, redis_url, world) as same:
            before = same.outcomes.copy()
            await read_all(same)
            assert told(same, before) == {"unchanged"}
            assert told(same, before, "tracker") == told(same, before, "redis") == {"changes"}
            await live(same, 2)
        async with world_of(clone, redis_url, same) as after:
            await assert_read_anew(after, "other_database")
    finally:
        await postgres_server.drop_database(clone)


async def test_a_standby_is_promoted(redis_url: str) -> None:
    settings = {"max_prepared_transactions": "5", "wal_level": "replica"}
    async with own_database(settings) as (primary, database), world_of(database, redis_url) as world:
        await live(world, 1)
        async with standby_of(primary, database) as standby:
            await live(world, 2)
            copy = Database(database.name, standby.url("postgres", "postgres"))
            # It is read before it is promoted: right answers, and no history.
            async with world_of(copy, redis_url, world) as reading:
                before = reading.outcomes.copy()
                await reading.answers.check_all()
                assert told(reading, before) <= {"no_history", "restarted"}
            await fail_over(database, copy)
            async with world_of(copy, redis_url, reading) as after:
                await assert_read_anew(after, "no_history", "restarted", "other_timeline")
