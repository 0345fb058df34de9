"""Tables without their indexes and keys for as long as many rows are copied into them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

_CONSTRAINTS: Final = """
SELECT conrelid::regclass::text AS table_name, quote_ident(conname) AS name, contype = 'f' AS is_reference,
       pg_get_constraintdef(oid) AS definition
FROM pg_catalog.pg_constraint
WHERE contype IN ('p', 'u', 'f')
  AND (conrelid = ANY ($1::text[]::regclass[]) OR confrelid = ANY ($1::text[]::regclass[]))
ORDER BY contype = 'f' DESC, conname
"""
_INDEXES: Final = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
FROM pg_catalog.pg_index AS i
WHERE indrelid = ANY ($1::text[]::regclass[])
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS c WHERE c.conindid = i.indexrelid)
ORDER BY 1
"""
_MEMORY: Final = "SET maintenance_work_mem = '256MB'"


@asynccontextmanager
async def without_indexes(driver: "asyncpg.Connection[asyncpg.Record]", *tables: str) -> AsyncIterator[None]:
    """Drop the keys, foreign keys and indexes of tables, and make them again at the end: many times faster.

    For tables that nobody else uses. After an exception they stay without; the place is to be removed then.
    """
    constraints = await driver.fetch(_CONSTRAINTS, tables)
    indexes = await driver.fetch(_INDEXES, tables)
    await driver.execute(_MEMORY)
    for row in constraints:  # references first: they need the keys
        await driver.execute(f"ALTER TABLE {row['table_name']} DROP CONSTRAINT {row['name']}")
    for row in indexes:
        await driver.execute(f"DROP INDEX {row['name']}")
    yield
    for row in indexes:
        await driver.execute(row["definition"], timeout=None)
    for row in reversed(constraints):
        added = f"ADD CONSTRAINT {row['name']} {row['definition']}"
        await driver.execute(f"ALTER TABLE {row['table_name']} {added}", timeout=None)
