"""A dump of the rows is restored into a database that the migrations made."""

from scheduler_repo.database.schema.version import VERSION_TABLE
from tests.support.client_programs import run_client
from tests.support.databases import ADMIN, OWNER, Database, DatabaseServer
from tests.support.rows import KEPT_BY_DATABASE, insert_all

_TABLES = "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' AND tablename <> $1 ORDER BY 1"
_FUNCTIONS = """
SELECT oid::regprocedure::text AS name, array_to_string(proconfig, ' ') AS settings
FROM pg_proc WHERE pronamespace = 'public'::regnamespace
"""


async def _rows(database: Database) -> dict[str, list[str]]:
    async with database.driver_as(OWNER) as driver:
        tables = {row[0] for row in await driver.fetch(_TABLES, VERSION_TABLE)}.difference(KEPT_BY_DATABASE)
        return {
            table: [row[0] for row in await driver.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
            for table in tables
        }


async def test_every_row_is_restored(
    postgres_server: DatabaseServer, migrated_template: Database, fresh_database: Database
) -> None:
    # given a row in each table; one of them fires a trigger
    await insert_all(fresh_database)
    before = await _rows(fresh_database)
    assert all(before.values())
    target = await postgres_server.create_database(migrated_template)
    try:
        # when: the dump sets an empty search_path
        options = "--data-only", "--schema=public", f"--exclude-table=public.{VERSION_TABLE}"
        dump = run_client("pg_dump", fresh_database, ADMIN, *options)
        # The program is of PostgreSQL 18; 15 does not know this setting.
        script = dump.replace("SET transaction_timeout = 0;\n", "")
        run_client("psql", target, OWNER, "-v", "ON_ERROR_STOP=1", "-q", "-1", script=script)

        # then
        assert await _rows(target) == before
    finally:
        await postgres_server.drop_database(target)


async def test_every_function_looks_in_its_own_schema(fresh_database: Database) -> None:
    async with fresh_database.driver_as(OWNER) as driver:
        functions = await driver.fetch(_FUNCTIONS)
    assert functions
    assert {row["name"]: row["settings"].removesuffix(" work_mem=32MB") for row in functions} == {
        row["name"]: "search_path=public, pg_temp" for row in functions
    }
