"""The server that clusters are loaded on: an embedded one, or the user's own, where nothing else is touched."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Optional, Protocol

import asyncpg
import sqlalchemy as sa

from bench.data.place import Place, driver_dsn
from scheduler_repo.cancellation import run_to_end
from scheduler_repo.cli.output.amounts import format_count
from scheduler_repo.database.connecting import connect, place_of
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.embedded.ready import OWNER, SCHEDULER, SUPERUSER, starting
from scheduler_repo.errors import InvalidSettings, PermissionDenied
from scheduler_repo.settings import DatabaseSettings, SecretUrl

SCHEMA_PREFIX: Final = "scheduler_repo_bench_"
# As it is run for real: a COMMIT is on disk before it is answered. Only what would disturb a turn is off.
_SETTINGS: Final = {"max_wal_size": "8GB", "autovacuum": "off", "checkpoint_timeout": "1h"}
_FIND_TABLES: Final = sa.text(
    """
SELECT n.nspname || '.' || c.relname
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%'
  AND NOT EXISTS (
      SELECT FROM pg_catalog.pg_depend AS d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""
)
_FIND_RIGHTS: Final = sa.text(
    """
SELECT has_database_privilege(current_database(), 'CREATE') AS may_create,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) AS is_superuser,
       current_user::text AS role, current_database()::text AS database
"""
)


class BenchServer(Protocol):
    """Makes places with the schema and without rows."""

    @property
    def description(self) -> str:
        """Whose server this is, in a few words, without a password."""
        ...

    async def make_place(self) -> Place:
        """Make a place at the newest revision."""
        ...

    async def remove_place(self, place: Place) -> None:
        """Remove a place, with whoever is still connected to it."""
        ...


@asynccontextmanager
async def place_on(server: BenchServer) -> AsyncIterator[Place]:
    """Make a place, and remove it at the end."""
    place = await server.make_place()
    try:
        yield place
    finally:
        await run_to_end(server.remove_place(place))


class EmbeddedBenchServer:
    """Makes a database for each place."""

    description = "an embedded PostgreSQL, removed at the end"

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        """``postgres`` runs already, or will when the first place is made."""
        self._postgres = postgres

    async def make_place(self) -> Place:
        name = f"bench_{secrets.token_hex(6)}"
        await self._run("postgres", f"CREATE DATABASE {name} OWNER postgres TEMPLATE template0")
        await self._run(name, read_sql_file("roles.sql"), f"ALTER DATABASE {name} OWNER TO {OWNER}")
        async with connect(DatabaseSettings(url=SecretUrl(self._postgres.url(name, OWNER)))) as connection:
            await upgrade_schema(connection)
        url, admin_url = (SecretUrl(self._postgres.url(name, role)) for role in (SCHEDULER, SUPERUSER))
        return Place(url, admin_url)

    async def remove_place(self, place: Place) -> None:
        name = place.url.reveal().partition("?")[0].rpartition("/")[2]
        await self._run("postgres", f"DROP DATABASE {name} WITH (FORCE)")

    async def _run(self, database: str, *scripts: str) -> None:
        superuser = await asyncpg.connect(driver_dsn(SecretUrl(self._postgres.url(database, SUPERUSER))))
        try:
            for script in scripts:
                await superuser.execute(script)
        finally:
            await superuser.close()


class GivenBenchServer:
    """Makes a schema of a new name for each place, in the user's database; touches nothing else there."""

    def __init__(self, settings: DatabaseSettings, *, beside_other_data: bool) -> None:
        """Connect to nothing yet; ``beside_other_data`` allows a database that holds other data."""
        self._settings = settings
        self._beside_other_data = beside_other_data
        self.description = place_of(settings)

    async def check(self) -> None:
        """Raise InvalidSettings for a database with other data, PermissionDenied for a role without CREATE."""
        async with connect(self._settings) as connection:
            tables = list((await connection.execute(_FIND_TABLES)).scalars())
            rights = (await connection.execute(_FIND_RIGHTS)).one()
        if not rights.may_create:
            raise PermissionDenied(
                f"{self.description}: role {rights.role} may not create a schema in database "
                f"{rights.database}; connect as a role that may, or leave --database-url out"
            )
        if tables and not self._beside_other_data:
            left = [name.partition(".")[0] for name in tables if name.startswith(SCHEMA_PREFIX)]
            advice = f"; {left[0]} is left of a benchmark that was killed, drop it" if left else ""
            raise InvalidSettings(
                f"{self.description} holds other data ({format_count(len(tables), 'table')}, such as "
                f"{tables[0]}); give an empty database, or --beside-other-data to measure in a schema of its "
                f"own beside them{advice}"
            )

    async def make_place(self) -> Place:
        schema = f"{SCHEMA_PREFIX}{secrets.token_hex(6)}"
        try:
            async with connect(self._settings) as connection:
                rights = (await connection.execute(_FIND_RIGHTS)).one()
                await connection.execute(sa.text(f"CREATE SCHEMA {schema}"))
                await connection.execute(sa.text(f"SET search_path TO {schema}"))
                await connection.commit()
                await upgrade_schema(connection)
        except BaseException:
            await run_to_end(self._drop(schema))
            raise
        url = self._settings.url
        return Place(url, url, schema, may_checkpoint=bool(rights.is_superuser))

    async def remove_place(self, place: Place) -> None:
        await self._drop(place.schema or "")

    async def _drop(self, schema: str) -> None:
        async with connect(self._settings) as connection:
            await connection.execute(sa.text("SET client_min_messages TO warning"))
            await connection.execute(sa.text(f"DROP SCHEMA IF EXISTS {schema} CASCADE"))
            await connection.commit()


@asynccontextmanager
async def open_server(
    settings: Optional[DatabaseSettings], *, beside_other_data: bool = False
) -> AsyncIterator[BenchServer]:
    """Start an embedded server, or look at the user's; raises as ``GivenBenchServer.check`` does."""
    if settings is not None:
        given = GivenBenchServer(settings, beside_other_data=beside_other_data)
        await given.check()
        yield given
        return
    postgres = EmbeddedPostgres(settings=_SETTINGS)
    async with starting([postgres]) as started:
        await started
        yield EmbeddedBenchServer(postgres)
