"""A database at an older revision, with rows in it, is brought to the newest one and back."""

from collections.abc import Mapping

import pytest

from scheduler_repo import errors
from scheduler_repo.database.schema.catalog import Catalog, read_catalog, set_search_path
from scheduler_repo.database.schema.upgrade import (
    SchemaUpgrade,
    check_schema,
    downgrade_schema,
    migrate,
    upgrade_schema,
)
from scheduler_repo.database.schema.version import (
    VERSION_TABLE,
    current_revision,
    head_revision,
    known_revisions,
    require_schema,
)
from tests.support.databases import OWNER, READER, SCHEDULER, Database
from tests.support.rows import KEPT_BY_DATABASE, OTHER_SESSION, ROWS, insert, insert_all

_TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> $1 ORDER BY 1"
# What each revision added: columns with what they say by default of rows that were there, and tables.
_ADDED_COLUMNS: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "0002": {
        "scaling_groups": {"preemption_scope": None, "preemption_min_runtime": "00:00:00"},
        "agents": {"returns_as": "ALIVE"},
        "sessions": {"retry_count": 0, "failed_agent_ids": "{}", "dispatched_at": None},
    },
    "0003": {"scaling_groups": {"is_public": "true"}},
}
_ADDED_TABLES: Mapping[str, tuple[str, ...]] = {
    "0002": ("reservations", "kernel_reservations", "operations", "scheduler_leases"),
    "0003": ("scaling_group_grants",),
    "0005": KEPT_BY_DATABASE,
}

# A table that the next revision makes.
_IN_THE_WAY = {
    "0001": "scheduler_leases",
    "0002": "scaling_group_grants",
    "0003": "change_log",
    "0004": "owner_usage",
}

# Each table's rows as texts, without the columns that came later.
Rows = Mapping[str, list[tuple[object, ...]]]


async def _migrate(database: Database, revision: str) -> None:
    """Bring an older database to a revision, and no further."""
    async with database.connect_as(OWNER) as connection, connection.begin():
        await set_search_path(connection, "public")
        await connection.run_sync(migrate, revision)


async def _tables(database: Database) -> list[str]:
    async with database.driver_as(OWNER) as driver:
        return [row[0] for row in await driver.fetch(_TABLES, VERSION_TABLE)]


async def _catalog(database: Database) -> Catalog:
    tables = await _tables(database)
    async with database.connect_as(OWNER) as connection:
        return await read_catalog(connection, "public", tables)


def _columns_added_since(revision: str) -> Mapping[str, Mapping[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for later, tables in _ADDED_COLUMNS.items():
        for table, columns in tables.items() if later > revision else ():
            found.setdefault(table, {}).update(columns)
    return found


def _tables_added_since(revision: str) -> list[str]:
    return [table for later, tables in _ADDED_TABLES.items() if later > revision for table in tables]


async def _rows(database: Database, revision: str) -> Rows:
    """The rows of the tables that the revision has, by its columns."""
    found: dict[str, list[tuple[object, ...]]] = {}
    async with database.driver_as(OWNER) as driver:
        for table in sorted(set(await _tables(database)).difference(_tables_added_since(revision))):
            added = _columns_added_since(revision).get(table, {})
            rows = await driver.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")
            found[table] = [tuple(value for name, value in row.items() if name not in added) for row in rows]
    return found


class TestOlderRevision:
    """What holds at each revision before the newest."""

    @pytest.fixture(params=known_revisions()[:-1])
    def revision(self, request: pytest.FixtureRequest) -> str:
        revision: str = request.param
        return revision

    @pytest.fixture
    async def older_database(self, empty_database: Database, revision: str) -> Database:
        """A database as the revision made it, with a row in each table and a session that has ended."""
        await _migrate(empty_database, revision)
        async with empty_database.driver_as(OWNER) as driver:
            for table, row in ROWS.items():
                if table not in _tables_added_since(revision):
                    await insert(driver, table, row)
            await insert(
                driver,
                "sessions",
                {**ROWS["sessions"], "id": OTHER_SESSION, "status": "TERMINATED", "result": "SUCCESS"},
            )
        return empty_database

    async def test_is_refused_until_it_is_upgraded_with_its_rows_and_then_used(
        self, older_database: Database, revision: str
    ) -> None:
        # given
        before = await _rows(older_database, revision)
        assert all(before.values())
        message = rf"revision {revision}, older than {head_revision()}"
        async with older_database.connect_as(OWNER) as connection:
            with pytest.raises(errors.SchemaMismatch, match=message):
                await require_schema(connection)

        # when a table of others is in the way
        in_the_way = _IN_THE_WAY[revision]
        await older_database.run_as(OWNER, f"CREATE TABLE {in_the_way} (login text)")
        expected = await _catalog(older_database)
        async with older_database.connect_as(OWNER) as connection:
            with pytest.raises(errors.SchedulerRepoError, match=f'"{in_the_way}" already exists'):
                await upgrade_schema(connection)
            # then all is as it was
            assert await current_revision(connection) == revision
        assert await _catalog(older_database) == expected
        await older_database.run_as(OWNER, f"DROP TABLE {in_the_way}")
        assert await _rows(older_database, revision) == before

        # when it is not
        async with older_database.connect_as(OWNER) as connection:
            assert await upgrade_schema(connection) == SchemaUpgrade(revision, head_revision())

            # then all is as in a new database, and every row is there, with what the new columns say by default
            assert await check_schema(connection) == ()
        assert await _rows(older_database, revision) == before
        async with older_database.driver_as(OWNER) as driver:
            for table, added in _columns_added_since(revision).items():
                for column, value in added.items():
                    rows = await driver.fetch(f"SELECT DISTINCT {column}::text AS value FROM {table}")
                    assert [row["value"] for row in rows] == [None if value is None else str(value)], column
        for role in (SCHEDULER, READER):
            async with older_database.connect_as(role) as connection:
                await require_schema(connection)
        async with older_database.driver_as(SCHEDULER) as driver:
            new_tables = _tables_added_since(revision)
            for table, row in ROWS.items():
                if table in new_tables:
                    await insert(driver, table, row)


class TestEveryRevision:
    async def test_is_what_a_downgrade_leaves_and_can_be_upgraded_again(
        self, empty_database: Database, migrated_database: Database
    ) -> None:
        # given what each revision makes of the one before
        catalogs = {}
        for revision in known_revisions():
            await _migrate(empty_database, revision)
            catalogs[revision] = await _catalog(empty_database)
        # and a database at the newest revision, with a row in each table
        down = known_revisions()[-2::-1]
        await insert_all(migrated_database)
        rows = {revision: await _rows(migrated_database, revision) for revision in down}

        async with migrated_database.connect_as(OWNER) as connection:
            # when it goes down, step by step and then at once
            for goals in (down, down[-1:]):
                for revision in goals:
                    await downgrade_schema(connection, revision)
                    # then
                    assert await current_revision(connection) == revision
                    assert await _catalog(migrated_database) == catalogs[revision]
                    assert await _rows(migrated_database, revision) == rows[revision]
                # and up again
                assert await upgrade_schema(connection) == SchemaUpgrade(goals[-1], head_revision())
                assert await _catalog(migrated_database) == catalogs[head_revision()]
                assert await _rows(migrated_database, goals[-1]) == rows[goals[-1]]
