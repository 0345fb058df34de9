"""A role that may only connect, or only read, takes every lock that it can get: nobody waits for it."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from secrets import token_hex
from typing import Final

import asyncpg
import pytest

from scheduler_repo.connection import Repositories, open_repositories
from scheduler_repo.database.schema.upgrade import downgrade_schema, upgrade_schema
from scheduler_repo.database.schema.version import VERSION_TABLE, known_revisions
from scheduler_repo.database.sql_files import SQL_ROOT, read_sql_file
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.models import Base
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.types import SlotName
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database, DriverConnection
from tests.support.observation import PROJECT_ROOT
from tests.support.old_rows import add_agent_history, add_finished, add_operations
from tests.support.small_cluster import GROUP, OWNER_IDS, agent, cluster, place, session, session_id
from tests.support.waiting import PATIENCE

_RELATIONS: Final = """
SELECT relname::text FROM pg_class
WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace
ORDER BY 1
"""
_TABLE_LOCKS: Final = (
    "ACCESS SHARE",
    "ROW SHARE",
    "ROW EXCLUSIVE",
    "SHARE UPDATE EXCLUSIVE",
    "SHARE",
    "SHARE ROW EXCLUSIVE",
    "EXCLUSIVE",
    "ACCESS EXCLUSIVE",
)
_ROW_LOCKS: Final = ("KEY SHARE", "SHARE", "NO KEY UPDATE", "UPDATE")
# What earlier versions waited on.
_OLD_KEYS: Final = ("quotas", "schema", "slot_types", "purge_agent_history", "roles")
_ADVISORY: Final = re.compile(r"advisory_(xact_)?(un)?lock")
_HELD: Final = """
SELECT count(*) FROM pg_locks
WHERE pid = pg_backend_pid() AND locktype IN ('relation', 'advisory')
  AND relation IS DISTINCT FROM 'pg_locks'::regclass
"""


def statements_that_lock(relations: Sequence[str]) -> Iterator[str]:
    """Every way to hold something until the transaction ends, with or without the right to it."""
    for key in _OLD_KEYS:
        for function in ("lock", "xact_lock", "lock_shared", "xact_lock_shared"):
            yield f"SELECT pg_try_advisory_{function}(hashtextextended('scheduler_repo.{key}', 0))"
    for number, table in enumerate(relations):
        for mode in _TABLE_LOCKS:
            yield f"LOCK TABLE {table} IN {mode} MODE NOWAIT"
        for strength in _ROW_LOCKS:
            yield f"SELECT FROM {table} FOR {strength} NOWAIT"
            # The table is locked when the statement is parsed, and its privileges are looked at when it runs.
            yield f"PREPARE {strength.replace(' ', '_')}_{number} AS SELECT FROM {table} FOR {strength}"
        yield f"SELECT count(*) FROM {table}"
        yield f"PREPARE insert_{number} AS INSERT INTO {table} DEFAULT VALUES"
        yield f"PREPARE delete_{number} AS DELETE FROM {table}"
        merging = f"MERGE INTO {table} USING {table} AS other ON true WHEN MATCHED THEN DELETE"
        yield f"PREPARE merge_{number} AS {merging}"
        yield f"COMMENT ON TABLE {table} IS 'mine'"
        yield f"ANALYZE {table}"
        yield f"CREATE INDEX ON {table} ((1))"
    for name in ("agent_history_id_seq", "session_history_id_seq", "reservations_position_seq"):
        # By its oid it can be named without a right to its schema.
        for call in ("nextval('{}')", "setval('{}', 1)", "currval('{}')"):
            yield f"SELECT {call.format(name)}"
    yield f"COMMENT ON ROLE {OWNER} IS 'mine'"
    yield "DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE %I IS ''mine''', current_database()); END $$"


@asynccontextmanager
async def holding_all_it_can(database: Database, role: str) -> AsyncIterator[DriverConnection]:
    async with database.driver_as(OWNER) as owner:
        relations = [row[0] for row in await owner.fetch(_RELATIONS)]
    assert {*Base.metadata.tables, VERSION_TABLE, "quota_additions"} <= {*relations}
    async with database.driver_as(role) as driver, driver.transaction():
        for statement in statements_that_lock(relations):
            try:
                async with driver.transaction():
                    await driver.execute(statement)
            except asyncpg.PostgresError:
                continue
        yield driver


class TestNobodyWaits:
    @pytest.fixture
    async def newcomer(self, fresh_database: Database) -> AsyncIterator[str]:
        """A role that may connect, and nothing else."""
        role = f"newcomer_{token_hex(4)}"
        await fresh_database.run_as(
            ADMIN, f"CREATE ROLE {role} LOGIN; GRANT CONNECT ON DATABASE {fresh_database.name} TO {role}"
        )
        yield role
        await fresh_database.run_as(ADMIN, f"DROP OWNED BY {role}; DROP ROLE {role}")

    @pytest.fixture(params=["may connect", "may use the schema", "may read"])
    async def stranger(self, request: pytest.FixtureRequest, fresh_database: Database, newcomer: str) -> str:
        if request.param == "may use the schema":
            await fresh_database.run_as(ADMIN, f"GRANT USAGE ON SCHEMA public TO {newcomer}")
        return READER if request.param == "may read" else newcomer

    @pytest.fixture
    async def repos(self, fresh_database: Database) -> AsyncIterator[Repositories]:
        """Three sessions in the queue of two agents, and much that is old."""
        async with open_repositories(fresh_database.url_as(SCHEDULER)) as repos:
            spec = cluster([agent("a1"), agent("a2")], [session(number, 1) for number in range(3)])
            await ClusterRepository(ClusterDBSource(repos.engine)).load_cluster(spec)
            async with fresh_database.driver_as(OWNER) as owner:
                await add_finished(owner, range(100, 110))
                await add_operations(owner, 5)
                await add_agent_history(owner, "a1", 5)
            yield repos

    async def test_for_a_role_without_the_right_to_write(
        self, fresh_database: Database, repos: Repositories, stranger: str
    ) -> None:
        async with holding_all_it_can(fresh_database, stranger) as driver:
            # given: it holds some
            assert await driver.fetchval(_HELD) >= 2 * len(_OLD_KEYS)
            # when, then
            for number, (scope, owner_id) in enumerate(OWNER_IDS.items()):
                async with asyncio.timeout(PATIENCE):
                    quota = QuotaSpec(scope=scope, owner_id=owner_id, max_concurrent_sessions=9)
                    await repos.quotas.set_quotas([quota])
                if number < 3:
                    async with asyncio.timeout(PATIENCE):
                        done = await repos.scheduler.allocate_sessions(GROUP, [place(number, "a1")])
                        assert list(done.allocated) == [session_id(number)]
            async with asyncio.timeout(PATIENCE):
                await repos.scaling_groups.register_slot_types([SlotTypeSpec(name=SlotName("tpu"))])
                await repos.lifecycle.mark_cancelled([session_id(0)])
                purged = await repos.retention.purge(timedelta(days=30))
                assert (purged.sessions, purged.operations, purged.agent_history) == (10, 5, 4)
            async with asyncio.timeout(PATIENCE), fresh_database.connect_as(OWNER) as connection:
                await upgrade_schema(connection)
            async with asyncio.timeout(PATIENCE):
                await fresh_database.run_as(ADMIN, read_sql_file("roles.sql"))

    @pytest.mark.usefixtures("repos")
    async def test_not_even_a_migration_for_a_role_that_may_only_connect(
        self, fresh_database: Database, newcomer: str
    ) -> None:
        async with holding_all_it_can(fresh_database, newcomer):
            for revision in reversed(known_revisions()[:-1]):
                async with asyncio.timeout(PATIENCE), fresh_database.connect_as(OWNER) as connection:
                    await downgrade_schema(connection, revision)
            async with asyncio.timeout(PATIENCE), fresh_database.connect_as(OWNER) as connection:
                await upgrade_schema(connection)


def test_no_statement_takes_an_advisory_lock() -> None:
    # given
    files = [
        *SQL_ROOT.rglob("*.sql"),
        *SQL_ROOT.rglob("*.py"),
        *(PROJECT_ROOT / "scheduler_repo").rglob("*.py"),
    ]
    assert len(files) > 200
    # then: it needs no privilege
    assert [str(file) for file in files if _ADVISORY.search(file.read_text())] == []
