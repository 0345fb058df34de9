"""Which revision of the schema a database is at, and which one this package needs."""

import functools
from typing import Final, Optional

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.errors import translated_errors
from scheduler_repo.database.sql_files import SQL_ROOT
from scheduler_repo.errors import SchemaMismatch

# Not Alembic's own name: the database may hold another application's.
VERSION_TABLE: Final = "scheduler_repo_schema_version"
UPGRADE_COMMAND: Final = "scheduler-repo db upgrade --database-url ..."

_FIND_VERSION_TABLE: Final = sa.text(
    f"SELECT to_regclass(quote_ident(current_schema()) || '.{VERSION_TABLE}') IS NOT NULL"
)
_READ_REVISIONS: Final = sa.text(f"SELECT version_num FROM {VERSION_TABLE} ORDER BY version_num")  # noqa: S608


@functools.cache
def known_revisions() -> tuple[str, ...]:
    """Return the revisions that this package can make, the oldest first.

    A revision's number opens the name of its file, so that Alembic need not be loaded to know it.
    """
    folder = SQL_ROOT / "migrations" / "versions"
    revisions = tuple(sorted(path.name.partition("_")[0] for path in folder.glob("[0-9]*_*.py")))
    if not revisions:
        raise SchemaMismatch(f"{folder} holds no migrations; the package is incomplete, install it again")
    return revisions


def head_revision() -> str:
    """Return the revision that this package needs."""
    return known_revisions()[-1]


async def current_revision(connection: AsyncConnection) -> Optional[str]:
    """Return the revision that the database is at, or None if it holds no schema of this package.

    Any role may ask. Runs in the connection's transaction if there is one, else leaves none behind; two
    statements. Raises SchemaMismatch if the version table holds several revisions.
    """
    had_transaction = connection.in_transaction()
    try:
        with translated_errors():
            return await _read_revision(connection)
    finally:
        if not had_transaction and connection.in_transaction():
            await connection.rollback()


async def require_schema(connection: AsyncConnection) -> None:
    """Raise SchemaMismatch unless the database is at the revision that this package needs.

    Any role may ask; two statements. What the tables really look like is check_schema's to say.
    """
    found, expected = await current_revision(connection), head_revision()
    if found == expected:
        return
    if found is None:
        raise SchemaMismatch(
            f"the database has no schema of this package, revision {expected} is needed; as the role "
            f"scheduler_repo_owner, run: {UPGRADE_COMMAND}"
        )
    refuse_unknown_revision(found)
    raise SchemaMismatch(
        f"the database's schema is at revision {found}, older than {expected}, which this package needs; "
        f"as the role scheduler_repo_owner, run: {UPGRADE_COMMAND}"
    )


def refuse_unknown_revision(found: str) -> None:
    """Raise SchemaMismatch for a revision that this package does not know: of a newer one, or of no one."""
    if found not in known_revisions():
        raise SchemaMismatch(
            f"the database's schema is at revision {found}, which this package does not know (its newest is "
            f"{head_revision()}); install the version of scheduler-repo that the database was upgraded with"
        )


async def has_version_table(connection: AsyncConnection) -> bool:
    """Whether the schema that is first in the search_path has a version table; one statement."""
    found: bool = (await connection.execute(_FIND_VERSION_TABLE)).scalar_one()
    return found


async def _read_revision(connection: AsyncConnection) -> Optional[str]:
    if not await has_version_table(connection):
        return None
    revisions: list[str] = list((await connection.execute(_READ_REVISIONS)).scalars())
    if len(revisions) > 1:
        raise SchemaMismatch(
            f"{VERSION_TABLE} holds {len(revisions)} revisions ({', '.join(revisions)}) where one is expected; "
            "restore the database, or leave in it the one that it is at"
        )
    return revisions[0] if revisions else None
