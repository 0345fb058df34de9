"""sql/roles.sql can be run by psql and by the driver, again and again, and by several at once."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database.sql_files import SQL_ROOT, read_sql_file
from tests.database.snapshots import all_of_catalog
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database, DatabaseServer


async def _run_during_another(script: str, first: Database, second: Database) -> None:
    """Run a script in ``first``, and in ``second`` before the first one has committed."""
    async with first.driver_as(ADMIN) as one, second.driver_as(ADMIN) as other:
        transaction = one.transaction()
        await transaction.start()
        await one.execute(script)
        attempt = asyncio.create_task(other.execute(script))

        while not await one.fetchval("SELECT cardinality(pg_blocking_pids($1))", other.get_server_pid()):
            assert not attempt.done()

        await transaction.commit()
        await attempt


class TestRolesFile:
    @pytest.fixture
    async def prefix(self, empty_database: Database) -> AsyncIterator[str]:
        """The start of role names that nobody has; the roles are dropped at the end."""
        prefix = f"test_{secrets.token_hex(4)}"
        yield prefix
        roles = ", ".join(f"{prefix}_{name}" for name in ("owner", "scheduler", "reader"))
        await empty_database.run_as(ADMIN, f"DROP OWNED BY {roles}; DROP ROLE {roles}")

    @pytest.fixture
    async def other_database(self, postgres_server: DatabaseServer) -> AsyncIterator[Database]:
        database = await postgres_server.create_database()
        yield database
        await postgres_server.drop_database(database)

    # With the roles there already, what both change is the privileges.
    @pytest.mark.usefixtures("empty_database")
    async def test_waits_for_another_in_the_same_database(self, other_database: Database) -> None:
        script = read_sql_file("roles.sql")

        await _run_during_another(script, other_database, other_database)

        async with other_database.driver_as(OWNER) as driver:
            assert await driver.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')")

    async def test_takes_the_roles_that_another_made_meanwhile_in_another_database(
        self, prefix: str, empty_database: Database, other_database: Database
    ) -> None:
        script = read_sql_file("roles.sql").replace("scheduler_repo_", f"{prefix}_")

        await _run_during_another(script, empty_database, other_database)

        async with empty_database.driver_as(ADMIN) as driver:
            rows = await driver.fetch("SELECT rolname FROM pg_roles WHERE rolname LIKE $1", f"{prefix}%")
        assert {row["rolname"] for row in rows} == {
            f"{prefix}_{name}" for name in ("owner", "scheduler", "reader")
        }

    async def test_roles_have_no_password_and_no_power(self, empty_database: Database) -> None:
        async with empty_database.driver_as(ADMIN) as driver:
            rows = await driver.fetch(
                "SELECT rolname, rolcanlogin, rolpassword IS NULL AS open,"
                " rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls AS mighty"
                " FROM pg_authid WHERE rolname LIKE 'scheduler_repo_%'"
            )

        assert {(row["rolname"], row["rolcanlogin"], row["open"], row["mighty"]) for row in rows} == {
            (role, True, True, False) for role in (OWNER, SCHEDULER, READER)
        }

    async def test_repeating_it_changes_nothing(self, migrated_database: Database) -> None:
        before = await all_of_catalog(migrated_database)

        await migrated_database.run_as(ADMIN, read_sql_file("roles.sql"))

        assert await all_of_catalog(migrated_database) == before

    async def test_psql_runs_it(self, other_database: Database) -> None:
        psql = shutil.which("psql")
        if psql is None:
            pytest.skip("psql is not installed")
        url = sa.make_url(other_database.admin_url).set(drivername="postgresql", database=other_database.name)

        process = await asyncio.create_subprocess_exec(
            psql,
            *("-X", "-v", "ON_ERROR_STOP=1", "-f", str(SQL_ROOT / "roles.sql"), url.render_as_string(False)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, complaints = await process.communicate()

        assert (process.returncode, complaints) == (0, b"")
        async with other_database.driver_as(OWNER) as driver:
            assert await driver.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')")

    async def test_public_may_create_nothing(self, empty_database: Database) -> None:
        async with empty_database.driver_as(ADMIN) as driver:
            await driver.execute("GRANT CREATE ON SCHEMA public TO PUBLIC")
            await driver.execute(read_sql_file("roles.sql"))

            assert not await driver.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", READER)


class TestPublic:
    """What every role has in a new database, and has not in one of this package."""

    @pytest.fixture
    async def newcomer(self, empty_database: Database) -> AsyncIterator[str]:
        role = f"newcomer_{secrets.token_hex(4)}"
        await empty_database.run_as(ADMIN, f"CREATE ROLE {role} LOGIN")
        yield role
        await empty_database.run_as(ADMIN, f"DROP OWNED BY {role}; DROP ROLE {role}")

    async def test_may_not_connect(self, empty_database: Database, newcomer: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await empty_database.run_as(newcomer, "SELECT 1")

    async def test_who_may_connect_makes_nothing_that_stays_or_fills_the_disk(
        self, empty_database: Database, newcomer: str
    ) -> None:
        await empty_database.run_as(ADMIN, f"GRANT CONNECT ON DATABASE {empty_database.name} TO {newcomer}")
        async with empty_database.driver_as(newcomer) as driver:
            functions = await driver.fetch(
                "SELECT proname::text, has_function_privilege(oid, 'EXECUTE') FROM pg_proc"
                " WHERE proname ~ '^(lo_|lowrite|loread)'"
            )
            assert len(functions) > 15
            assert [name for name, may_call in functions if may_call] == []
            for statement in (
                "SELECT lo_create(0)",
                "SELECT lo_creat(-1)",
                "SELECT lo_from_bytea(0, 'x')",
                "SELECT lo_import('/etc/passwd')",
                "SELECT lo_export(1, '/tmp/x')",
                "CREATE TEMPORARY TABLE mine ()",
                "CREATE TABLE mine ()",
                "CREATE TABLE public.mine ()",
                "CREATE SCHEMA mine",
            ):
                with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError)):
                    await driver.execute(statement)
            assert not await driver.fetchval("SELECT has_schema_privilege('public', 'USAGE')")

    async def test_keeps_large_objects_where_no_superuser_runs_it(
        self, postgres_server: DatabaseServer, empty_database: Database, newcomer: str
    ) -> None:
        # given: a role with CREATEROLE that owns a database
        await empty_database.run_as(ADMIN, f"ALTER ROLE {newcomer} CREATEROLE")
        database = await postgres_server.create_database()
        try:
            await database.run_as(ADMIN, f"ALTER DATABASE {database.name} OWNER TO {newcomer}")
            notices: list[str] = []
            async with database.driver_as(newcomer) as driver:
                driver.add_log_listener(lambda _, message: notices.append(str(message)))
                # when
                await driver.execute(read_sql_file("roles.sql"))
            # then: it says so, and the rest is done
            assert any("large objects" in notice for notice in notices)
            async with database.driver_as(ADMIN) as driver:
                assert await driver.fetchval(
                    "SELECT NOT has_database_privilege('pg_monitor', current_database(), 'CONNECT')"
                )
        finally:
            await postgres_server.drop_database(database)
