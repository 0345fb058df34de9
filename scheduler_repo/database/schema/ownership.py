"""Whose the schema is: what an upgrade makes belongs to the owner role, whoever runs it."""

import re
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.models import Base

OWNER_ROLE: Final = "scheduler_repo_owner"

# Roles belong to the whole server: one without rights in this schema is another database's.
_MAY_ACT_AS_OWNER: Final = sa.text(
    """
SELECT EXISTS (
    SELECT FROM pg_catalog.pg_roles r
    WHERE r.rolname = :owner AND r.rolname <> current_user
      AND pg_has_role(current_user, r.oid,
          CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END)
      AND has_schema_privilege(r.oid, to_regnamespace(quote_ident(current_schema())), 'CREATE'))
"""
)
# The sequences, indexes and row types of a table go with it.
_FIND_TAKEN_AWAY: Final = sa.text(
    """
SELECT 'TABLE ' || c.oid::regclass::text
FROM pg_catalog.pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN ('r', 'p')
  AND c.relname = ANY (CAST(:tables AS text[]))
  AND c.relowner <> to_regrole(:owner) AND pg_has_role(current_user, c.relowner, 'USAGE')
UNION ALL
SELECT 'ROUTINE ' || p.oid::regprocedure::text
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = to_regnamespace(quote_ident(current_schema()))
  AND p.proname = ANY (CAST(:functions AS text[]))
  AND p.proowner <> to_regrole(:owner) AND pg_has_role(current_user, p.proowner, 'USAGE')
ORDER BY 1
"""
)
_FUNCTION: Final = re.compile(r"^CREATE FUNCTION (\w+)", re.MULTILINE)


async def act_as_owner(connection: AsyncConnection) -> None:
    """Become the owner role until the transaction ends, if there is one that the user may become.

    What the user made here before, or another role that the user may act as, is given to the owner first. Does
    nothing for the owner itself, and where the owner may not create anything in the current schema.
    """
    if not (await connection.execute(_MAY_ACT_AS_OWNER, {"owner": OWNER_ROLE})).scalar_one():
        return
    names = {
        "owner": OWNER_ROLE,
        "tables": [VERSION_TABLE, *(table.name for table in Base.metadata.sorted_tables)],
        "functions": _FUNCTION.findall(read_sql_file("schema.sql")),
    }
    for taken_away in (await connection.execute(_FIND_TAKEN_AWAY, names)).scalars().all():
        await connection.execute(sa.text(f"ALTER {taken_away} OWNER TO {OWNER_ROLE}"))
    await connection.execute(sa.text(f"SET LOCAL ROLE {OWNER_ROLE}"))
