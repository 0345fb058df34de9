"""Gives what an upgrade makes to the owner role, whoever runs it."""

import re
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.database.sql_files import read_sql_file

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
# ALTER TABLE gives away views too. The sequences, indexes and row types of a table go with it. What a third
# role made under such a name, as a function that runs with its owner's rights, must not become the owner's.
_FIND_TAKEN_AWAY: Final = sa.text(
    """
WITH trusted AS (
    SELECT r.oid FROM pg_catalog.pg_roles r
    WHERE r.rolname <> :owner AND (r.rolname = current_user OR r.rolsuper)
      AND pg_has_role(current_user, r.oid, 'USAGE')
)
SELECT 'TABLE ' || c.oid::regclass::text
FROM pg_catalog.pg_class c
WHERE c.relnamespace = to_regnamespace(quote_ident(current_schema())) AND c.relkind IN ('r', 'p', 'v', 'S')
  AND c.relname = ANY (CAST(:relations AS text[]))
  AND c.relowner IN (SELECT oid FROM trusted)
UNION ALL
SELECT 'ROUTINE ' || p.oid::regprocedure::text
FROM pg_catalog.pg_proc p
WHERE p.pronamespace = to_regnamespace(quote_ident(current_schema()))
  AND p.proname = ANY (CAST(:functions AS text[]))
  AND p.proowner IN (SELECT oid FROM trusted)
ORDER BY 1
"""
)
_RELATION: Final = re.compile(r"^CREATE (?:UNLOGGED )?(?:TABLE|VIEW|SEQUENCE) (\w+)", re.MULTILINE)
_FUNCTION: Final = re.compile(r"^CREATE FUNCTION (\w+)", re.MULTILINE)


async def act_as_owner(connection: AsyncConnection) -> None:
    """Become the owner role until the transaction ends, if there is one that the user may become.

    What the user, or a superuser, made here before is given to the owner first. Does nothing for the owner
    itself, and where the owner may not create anything in the current schema.
    """
    if not (await connection.execute(_MAY_ACT_AS_OWNER, {"owner": OWNER_ROLE})).scalar_one():
        return
    schema = read_sql_file("schema.sql")
    names = {
        "owner": OWNER_ROLE,
        "relations": [VERSION_TABLE, *_RELATION.findall(schema)],
        "functions": _FUNCTION.findall(schema),
    }
    for taken_away in (await connection.execute(_FIND_TAKEN_AWAY, names)).scalars().all():
        await connection.execute(sa.text(f"ALTER {taken_away} OWNER TO {OWNER_ROLE}"))
    await connection.execute(sa.text(f"SET LOCAL ROLE {OWNER_ROLE}"))
