"""Migrations, models and sql/schema.sql say the same."""

from collections.abc import AsyncIterator

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.schema.catalog import Catalog, SchemaObjectKind, compare_catalogs, read_catalog
from scheduler_repo.database.schema.version import VERSION_TABLE, head_revision, known_revisions
from scheduler_repo.database.sql_files import SQL_ROOT, read_sql_file
from scheduler_repo.models import Base
from tests.support.databases import OWNER, Database, DatabaseServer

_TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> $1 ORDER BY 1"
_COLUMNS = """
SELECT c.relname || '.' || a.attname
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND c.relname <> $1
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY c.relname, a.attnum
"""


async def _catalog(database: Database) -> Catalog:
    tables = await _listed(database, _TABLES)
    async with database.connect_as(OWNER) as connection:
        return await read_catalog(connection, "public", tables)


async def _columns(database: Database) -> Catalog:
    """The columns and primary keys of all tables."""
    catalog = await _catalog(database)
    return {
        item: definition
        for item, definition in catalog.items()
        if item.kind is SchemaObjectKind.COLUMN or definition.startswith("PRIMARY KEY")
    }


async def _listed(database: Database, query: str) -> list[str]:
    async with database.driver_as(OWNER) as driver:
        return [row[0] for row in await driver.fetch(query, VERSION_TABLE)]


async def _create_models(connection: AsyncConnection) -> None:
    async with connection.begin():
        await connection.run_sync(Base.metadata.create_all, checkfirst=False)


class TestAgreement:
    @pytest.fixture
    async def database_of_models(self, empty_database: Database) -> Database:
        async with empty_database.connect_as(OWNER) as connection:
            await _create_models(connection)
        return empty_database

    @pytest.fixture
    async def database_of_schema_file(self, postgres_server: DatabaseServer) -> AsyncIterator[Database]:
        database = await postgres_server.create_database()
        await database.run_as("", read_sql_file("roles.sql"))
        await database.run_as(OWNER, "SET search_path = public, pg_temp;" + read_sql_file("schema.sql"))
        yield database
        await postgres_server.drop_database(database)

    async def test_models_have_the_columns_that_migrations_made(
        self, database_of_models: Database, migrated_database: Database
    ) -> None:
        """Types, collations, NOT NULL, defaults and keys; the schema file alone says the rest."""
        expected, found = await _columns(database_of_models), await _columns(migrated_database)

        assert expected == found

    async def test_schema_file_says_what_migrations_made(
        self, database_of_schema_file: Database, migrated_database: Database
    ) -> None:
        expected, found = await _catalog(database_of_schema_file), await _catalog(migrated_database)

        assert compare_catalogs(expected, found) == ()
        assert expected == found

    async def test_columns_stand_in_the_same_order(
        self, database_of_models: Database, database_of_schema_file: Database, migrated_database: Database
    ) -> None:
        migrated = await _listed(migrated_database, _COLUMNS)

        assert await _listed(database_of_models, _COLUMNS) == migrated
        assert await _listed(database_of_schema_file, _COLUMNS) == migrated

    async def test_every_kind_of_object_is_read(self, migrated_database: Database) -> None:
        catalog = await _catalog(migrated_database)

        kinds = {item.kind for item in catalog}
        assert kinds >= {
            SchemaObjectKind.TABLE,
            SchemaObjectKind.COLUMN,
            SchemaObjectKind.CONSTRAINT,
            SchemaObjectKind.INDEX,
        }
        assert {item.name for item in catalog if item.kind is SchemaObjectKind.TABLE} == set(
            Base.metadata.tables
        )


class TestRevisions:
    def test_file_names_and_scripts_name_the_same_revisions(self) -> None:
        scripts = ScriptDirectory(str(SQL_ROOT / "migrations"))

        assert scripts.get_current_head() == head_revision()
        assert tuple(reversed([script.revision for script in scripts.walk_revisions()])) == known_revisions()
