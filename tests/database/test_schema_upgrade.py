"""Upgrading, downgrading, and refusing a database that is not at the right revision."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo import errors
from scheduler_repo.database.schema import upgrade as schema
from scheduler_repo.database.schema import version as schema_version
from scheduler_repo.database.schema.upgrade import SchemaUpgrade, check_schema, downgrade_schema, upgrade_schema
from scheduler_repo.database.schema.version import (
    VERSION_TABLE,
    current_revision,
    head_revision,
    require_schema,
)
from scheduler_repo.database.sql_files import read_sql_file
from tests.database.snapshots import all_of_catalog
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database

_WAITING_UPGRADES = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


_TRIGGERS = "SELECT triggers FROM change_history()"


async def _upgrade(database: Database) -> SchemaUpgrade:
    async with database.connect_as(OWNER) as connection:
        return await upgrade_schema(connection)


async def _require(database: Database, role: str = SCHEDULER) -> None:
    async with database.connect_as(role) as connection:
        await require_schema(connection)


@asynccontextmanager
async def _never_ended(connection: AsyncConnection, *, keep: bool) -> AsyncIterator[None]:
    await connection.begin()
    yield


class TestUpgrade:
    async def test_repeating_it_changes_nothing(self, migrated_database: Database) -> None:
        """Not even what those who follow changes tell a change of the triggers by."""
        async with migrated_database.driver_as(OWNER) as driver:
            before, triggers = await all_of_catalog(migrated_database), await driver.fetchval(_TRIGGERS)

            assert await _upgrade(migrated_database) == SchemaUpgrade(head_revision(), head_revision())

            assert await all_of_catalog(migrated_database) == before
            assert await driver.fetchval(_TRIGGERS) == triggers is not None

    async def test_several_at_once_bring_an_empty_database_to_head_as_one(
        self, empty_database: Database
    ) -> None:
        results = await asyncio.gather(*(_upgrade(empty_database) for _ in range(4)))

        assert {result.to_revision for result in results} == {head_revision()}
        assert [result.from_revision for result in results].count(None) == 1
        await _require(empty_database)
        async with empty_database.connect_as(OWNER) as connection:
            assert await check_schema(connection) == ()

    @pytest.mark.parametrize("is_first", [True, False])
    async def test_waits_for_one_that_is_under_way(self, empty_database: Database, is_first: bool) -> None:
        if not is_first:
            await _upgrade(empty_database)
        async with empty_database.connect_as(OWNER) as other:
            # given another upgrade that has done everything and has not ended
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(schema, "_transaction", _never_ended)
                done = await upgrade_schema(other)
            upgrade = asyncio.create_task(_upgrade(empty_database))

            # when ours has come to the lock
            async with empty_database.driver_as(ADMIN) as observer:
                while not await observer.fetchval(_WAITING_UPGRADES):
                    assert not upgrade.done()

            # then it goes on only after the other has ended
            await other.commit()
            assert await upgrade == SchemaUpgrade(head_revision(), head_revision())
            assert done.from_revision == (None if is_first else head_revision())

    async def test_another_installation_further_down_the_search_path_is_left_alone(
        self, migrated_database: Database
    ) -> None:
        # given an installation in public, and a schema of one's own before it
        await migrated_database.run_as(ADMIN, f"CREATE SCHEMA cluster AUTHORIZATION {OWNER}")
        # when that schema is upgraded
        async with migrated_database.connect_as(OWNER, search_path="cluster, public") as connection:
            done = await upgrade_schema(connection)
            # then it has tables of its own
            assert done == SchemaUpgrade(None, head_revision())
            assert await check_schema(connection) == ()
        # and undoing it leaves the other one
        async with migrated_database.connect_as(OWNER, search_path="cluster, public") as connection:
            await downgrade_schema(connection, None)
        await _require(migrated_database)

    @pytest.mark.parametrize("name", ["cluster", '"search_path, Temp"'])
    async def test_lies_first_in_the_search_path(self, empty_database: Database, name: str) -> None:
        await empty_database.run_as(OWNER, f"CREATE SCHEMA {name}")
        async with empty_database.connect_as(OWNER, search_path=name) as connection:
            await upgrade_schema(connection)

            assert await check_schema(connection) == ()

        async with empty_database.connect_as(READER, search_path=name) as connection:
            await require_schema(connection)
            await connection.execute(sa.text(f"SELECT count(*) FROM {name}.sessions"))
        with pytest.raises(errors.SchemaMismatch):
            await _require(empty_database)

    async def test_roles_that_are_missing_are_skipped(
        self, empty_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # given a server without the reader, and with the scheduler
        grants = read_sql_file("grants.sql").replace(READER, "test_nobody_has_this_name")
        monkeypatch.setattr(schema, "read_sql_file", lambda _: grants)

        await _upgrade(empty_database)

        await _require(empty_database, SCHEDULER)
        with pytest.raises(errors.PermissionDenied):
            await _require(empty_database, READER)

    async def test_a_failure_at_its_end_undoes_all_of_it(
        self, empty_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = await all_of_catalog(empty_database)
        monkeypatch.setattr(schema, "read_sql_file", lambda _: "SELECT 1 / 0")

        with pytest.raises(errors.SchedulerRepoError, match="division by zero"):
            await _upgrade(empty_database)

        assert await all_of_catalog(empty_database) == before

    async def test_other_peoples_tables_are_left_alone(self, empty_database: Database) -> None:
        await empty_database.run_as(OWNER, "CREATE TABLE users (login text); CREATE TABLE unrelated ()")
        before = await all_of_catalog(empty_database)

        with pytest.raises(errors.SchemaMismatch, match="names users, but"):
            await _upgrade(empty_database)

        assert await all_of_catalog(empty_database) == before

    async def test_role_without_create_is_refused(self, empty_database: Database) -> None:
        async with empty_database.connect_as(SCHEDULER) as connection:
            with pytest.raises(errors.PermissionDenied):
                await upgrade_schema(connection)

    async def test_connection_in_a_transaction_is_refused(self, empty_database: Database) -> None:
        async with empty_database.connect_as(OWNER) as connection:
            await connection.execute(sa.text("SELECT 1"))

            with pytest.raises(errors.InvalidInput, match="in a transaction already"):
                await upgrade_schema(connection)

    async def test_autocommit_is_refused(self, empty_database: Database) -> None:
        async with empty_database.connect_as(OWNER, isolation_level="AUTOCOMMIT") as connection:
            with pytest.raises(errors.InvalidInput, match="AUTOCOMMIT"):
                await upgrade_schema(connection)

            assert await current_revision(connection) is None


class TestDowngrade:
    async def test_leaves_nothing_and_can_be_upgraded_again(self, empty_database: Database) -> None:
        before = await all_of_catalog(empty_database)
        await _upgrade(empty_database)
        assert await all_of_catalog(empty_database) != before

        async with empty_database.connect_as(OWNER) as connection:
            await downgrade_schema(connection, None)

            assert await current_revision(connection) is None
            assert await all_of_catalog(empty_database) == before

            await upgrade_schema(connection)

            assert await check_schema(connection) == ()

    async def test_unknown_revision_is_refused(self, migrated_database: Database) -> None:
        async with migrated_database.connect_as(OWNER) as connection:
            with pytest.raises(errors.SchemaMismatch, match="4711"):
                await downgrade_schema(connection, "4711")

            assert await current_revision(connection) == head_revision()


class TestRequireSchema:
    @pytest.mark.parametrize("role", [SCHEDULER, READER, OWNER])
    async def test_head_is_accepted(self, migrated_database: Database, role: str) -> None:
        await _require(migrated_database, role)

    async def test_leaves_no_transaction_behind(self, migrated_database: Database) -> None:
        async with migrated_database.connect_as(READER) as connection:
            await require_schema(connection)

            assert not connection.in_transaction()

    async def test_empty_database_is_refused(self, empty_database: Database) -> None:
        with pytest.raises(
            errors.SchemaMismatch, match=r"no schema .* scheduler-repo db upgrade --database-url"
        ):
            await _require(empty_database)

    async def test_older_revision_is_refused(
        self, migrated_database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = head_revision()
        monkeypatch.setattr(schema_version, "known_revisions", lambda: (found, "9998"))

        with pytest.raises(errors.SchemaMismatch, match=rf"revision {found}, older than 9998.*db upgrade"):
            await _require(migrated_database)

    async def test_newer_revision_is_refused(self, migrated_database: Database) -> None:
        await migrated_database.run_as(OWNER, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

        with pytest.raises(errors.SchemaMismatch, match=rf"revision 9999.*newest is {head_revision()}"):
            await _require(migrated_database)
        with pytest.raises(errors.SchemaMismatch, match="revision 9999"):
            await _upgrade(migrated_database)

    async def test_several_revisions_are_refused(self, migrated_database: Database) -> None:
        await migrated_database.run_as(OWNER, f"INSERT INTO {VERSION_TABLE} VALUES ('0000')")

        with pytest.raises(errors.SchemaMismatch, match=f"0000, {head_revision()}"):
            await _require(migrated_database)
