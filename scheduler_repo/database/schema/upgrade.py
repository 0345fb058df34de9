"""Making the schema in a database, and saying how a database's schema differs from the package's.

Every function takes a SQLAlchemy ``AsyncConnection`` with the asyncpg driver. The schema lies where the
connection's search_path points first, ``public`` unless it was changed.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Optional

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.engine import get_driver
from scheduler_repo.database.errors import translated_errors
from scheduler_repo.database.pooled_connections import refuse_encoding
from scheduler_repo.database.schema.catalog import (
    SchemaDifference,
    compare_catalogs,
    read_catalog,
    set_search_path,
)
from scheduler_repo.database.schema.ownership import act_as_owner
from scheduler_repo.database.schema.version import (
    VERSION_TABLE,
    current_revision,
    has_version_table,
    head_revision,
    refuse_unknown_revision,
)
from scheduler_repo.database.sql_files import SQL_ROOT, read_sql_file
from scheduler_repo.errors import InvalidInput, PermissionDenied, SchemaMismatch
from scheduler_repo.models import Base
from scheduler_repo.quoting import get_logger

_logger = get_logger(__name__)
# With the view that writers lock, and those that usage is read by.
_VIEWS: Final = ("quota_additions", "counted_usage", "unfolded_usage", "usage_parts")
_TABLES: Final = [*(table.name for table in Base.metadata.sorted_tables), *_VIEWS]
# As Alembic would make it.
_VERSIONS: Final = sa.Table(
    VERSION_TABLE,
    sa.MetaData(),
    sa.Column("version_num", sa.String(32), nullable=False),
    sa.PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),
)
# No reader is in its way: a role without privileges holds ROW EXCLUSIVE at most, by preparing a statement.
_LOCK: Final = sa.text(f"LOCK TABLE {VERSION_TABLE} IN SHARE UPDATE EXCLUSIVE MODE")
_FIND_TABLES: Final = sa.text(
    """
SELECT c.relname::text
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = ANY (CAST(:tables AS text[]))
ORDER BY c.relname
"""
)
_FIND_PLACE: Final = sa.text(
    """
SELECT current_schema()::text, current_user::text, current_database()::text,
    has_database_privilege(current_database(), 'CREATE')
"""
)
# All privileges on what lies in the schema, in an order of its own: granting anew may change theirs.
_FIND_PRIVILEGES: Final = sa.text(
    """
SELECT o.class, o.oid, o.part, ARRAY(SELECT acl::text FROM unnest(o.privileges) AS acl ORDER BY 1)
FROM (
    SELECT 'pg_class' AS class, oid, 0 AS part, relacl AS privileges
    FROM pg_catalog.pg_class
    WHERE relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
    UNION ALL
    SELECT 'pg_class', a.attrelid, a.attnum, a.attacl
    FROM pg_catalog.pg_attribute AS a
    JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid
    WHERE c.relnamespace = CAST(quote_ident(current_schema()) AS regnamespace)
    UNION ALL
    SELECT 'pg_proc', oid, 0, proacl
    FROM pg_catalog.pg_proc
    WHERE pronamespace = CAST(quote_ident(current_schema()) AS regnamespace)
    UNION ALL
    SELECT 'pg_namespace', oid, 0, nspacl
    FROM pg_catalog.pg_namespace
    WHERE nspname = current_schema()
) AS o
ORDER BY 1, 2, 3
"""
)


class SchemaUpgrade(msgspec.Struct, frozen=True):
    """The result of an upgrade: ``from_revision`` is None if there was no schema; equal if none was needed."""

    from_revision: Optional[str]
    to_revision: str


async def upgrade_schema(connection: AsyncConnection) -> SchemaUpgrade:
    """Bring the database to the revision that this package needs, and set each role's privileges.

    Run it after sql/roles.sql, as the owner role or a superuser: what is made, and was made before, belongs to
    the owner role then. All in one transaction, which waits for another upgrade that is under way; safe to
    repeat. Raises SchemaMismatch if the database is newer than the package, or holds tables of the same names
    that are not its own, UnsupportedEncoding, and PermissionDenied if the role may not create tables.
    """
    async with _transaction(connection, keep=True):
        refuse_encoding(await get_driver(connection))
        is_locked = await _lock_schema(connection)
        await act_as_owner(connection)
        if not is_locked:
            await _create_version_table(connection)
            await connection.execute(_LOCK)
        found, head = await current_revision(connection), head_revision()
        if found is None:
            await _refuse_tables_of_others(connection)
        else:
            refuse_unknown_revision(found)
        await connection.run_sync(migrate, head)
        await _grant_privileges(connection)
        # In a dump of another cluster's what owners occupy has to be counted anew.
        await connection.execute(sa.text("SELECT fold_usage()"))
    return SchemaUpgrade(found, head)


async def downgrade_schema(connection: AsyncConnection, to_revision: Optional[str]) -> None:
    """Undo the migrations after ``to_revision``; None undoes all of them, and loses all data.

    Run it as the owner role, with the package's processes stopped. One transaction. Raises SchemaMismatch if
    the package does not know one of the two revisions.
    """
    async with _transaction(connection, keep=True):
        if to_revision is not None:
            refuse_unknown_revision(to_revision)
        if not await _lock_schema(connection):
            return
        await act_as_owner(connection)
        found = await current_revision(connection)
        if found is not None:
            refuse_unknown_revision(found)
            await connection.run_sync(migrate, to_revision or "base", undo=True)
        if to_revision is None:
            await connection.execute(sa.text(f"DROP TABLE {VERSION_TABLE}"))


async def check_schema(connection: AsyncConnection) -> tuple[SchemaDifference, ...]:
    """Compare the database's tables with sql/schema.sql, and return every difference, ordered.

    The file's tables are made in a schema of a temporary name, inside a transaction that is rolled back: no
    trace is left, and no writer waits for it. Tables, views and functions of others do not matter; what was
    added to one of the package's tables does. Run it as the owner role: raises PermissionDenied if the role
    may not create schemas. Costs about as much as making the tables.
    """
    async with _transaction(connection, keep=False):
        live, role, database, may_create = (await connection.execute(_FIND_PLACE)).one()
        if not may_create:
            raise PermissionDenied(
                f"the check needs a schema for a moment, and role {role} may not create one in database "
                f"{database}",
                advice="run it as scheduler_repo_owner, and sql/roles.sql in this database before",
            )
        if live is None:
            raise SchemaMismatch(
                f"the search_path of role {role} names no schema that database {database} has; correct it"
            )
        found = await read_catalog(connection, live, _TABLES)
        scratch = f"scheduler_repo_check_{secrets.token_hex(8)}"
        await connection.execute(sa.text(f"CREATE SCHEMA {scratch}"))
        await set_search_path(connection, scratch)
        await _run_script(connection, "schema.sql")
        expected = await read_catalog(connection, scratch, _TABLES)
    return compare_catalogs(expected, found)


@asynccontextmanager
async def _transaction(connection: AsyncConnection, *, keep: bool) -> AsyncIterator[None]:
    """Begin a READ COMMITTED transaction; at the end commit it, or roll it back if not ``keep``.

    Rolls back on any exception. Raises InvalidInput if the connection is in a transaction already or in
    AUTOCOMMIT mode; errors of the driver leave as the package's own.
    """
    if connection.in_transaction():
        raise InvalidInput(
            "the connection is in a transaction already, and this needs one of its own; end the other first"
        )
    with translated_errors():
        transaction = await connection.begin()
        driver = await get_driver(connection)
    try:
        with translated_errors(driver):
            # A later statement must see what another process committed while this one waited for a lock.
            await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL READ COMMITTED"))
            if not driver.is_in_transaction():
                raise InvalidInput(
                    "the connection is in AUTOCOMMIT mode, and this needs a transaction; "
                    "take one without isolation_level='AUTOCOMMIT'"
                )
            yield
        if keep:
            with translated_errors():
                await transaction.commit()
    finally:
        if transaction.is_active:
            with translated_errors():
                await transaction.rollback()


async def _lock_schema(connection: AsyncConnection) -> bool:
    """Wait for another upgrade or downgrade, by a lock on the version table that ends with the transaction.

    Return false if there is no version table to lock.
    """
    # Tables of the same names may be visible further down the search_path; they are not meant.
    schema = (await connection.execute(sa.text("SELECT current_schema()::text"))).scalar_one()
    if schema is not None:
        await set_search_path(connection, schema)
    exists = await has_version_table(connection)
    if exists:
        await connection.execute(_LOCK)
    return exists


async def _create_version_table(connection: AsyncConnection) -> None:
    try:
        async with connection.begin_nested():
            await connection.execute(sa.schema.CreateTable(_VERSIONS))
    except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
        # Perhaps another upgrade has made it, which was waited for.
        if not await has_version_table(connection):
            raise


async def _refuse_tables_of_others(connection: AsyncConnection) -> None:
    found = list((await connection.execute(_FIND_TABLES, {"tables": _TABLES})).scalars())
    if found:
        raise SchemaMismatch(
            f"the database has tables of the names {', '.join(found)}, but no {VERSION_TABLE}: they are "
            "not this package's; give it a database of its own, or a schema that is first in the search_path"
        )


async def _grant_privileges(connection: AsyncConnection) -> None:
    """Grant what each role needs, unless it has exactly that.

    Granting writes the functions' rows anew even then, and whoever follows changes reads everything once if a
    trigger's function was touched.
    """
    before = (await connection.execute(_FIND_PRIVILEGES)).all()
    granting = await connection.begin_nested()
    await _run_script(connection, "grants.sql")
    if (await connection.execute(_FIND_PRIVILEGES)).all() == before:
        await granting.rollback()
    else:
        await granting.commit()


async def _run_script(connection: AsyncConnection, name: str) -> None:
    """Run a file of several statements, which only the driver itself can send, and log its notices."""
    driver = await get_driver(connection)
    driver.add_log_listener(_pass_on_notice)
    try:
        await driver.execute(read_sql_file(name))
    finally:
        driver.remove_log_listener(_pass_on_notice)


def _pass_on_notice(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
    # grants.sql notes the roles that do not exist; the server's own warnings, one per privilege, add nothing.
    if message.severity_en == "NOTICE":
        _logger.warning("%s", message)


def migrate(connection: sa.Connection, revision: str, *, undo: bool = False) -> None:
    """Run the migrations up to ``revision`` in the connection's transaction, or ``undo`` those after it."""
    # Alembic takes long to load, and nothing else needs it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # Config reads % as the start of an interpolation.
    config.set_main_option("script_location", str(SQL_ROOT / "migrations").replace("%", "%%"))
    run = command.downgrade if undo else command.upgrade
    run(config, revision)
