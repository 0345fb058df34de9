"""Everything that a database's catalogs list, to see whether something was left behind."""

from tests.support.databases import ADMIN, Database

_EVERYTHING = """
SELECT 'relation', oid::bigint, relname::text, coalesce(relacl::text, '') FROM pg_class
UNION ALL SELECT 'column', attrelid::bigint, attname, coalesce(attacl::text, '') FROM pg_attribute
UNION ALL SELECT 'type', oid::bigint, typname, '' FROM pg_type
UNION ALL SELECT 'function', oid::bigint, proname, coalesce(proacl::text, '') FROM pg_proc
UNION ALL SELECT 'schema', oid::bigint, nspname, coalesce(nspacl::text, '') FROM pg_namespace
UNION ALL SELECT 'constraint', oid::bigint, conname, '' FROM pg_constraint
UNION ALL SELECT 'trigger', oid::bigint, tgname, '' FROM pg_trigger
UNION ALL SELECT 'default', oid::bigint, '', '' FROM pg_attrdef
UNION ALL SELECT 'sequence', seqrelid::bigint, '', '' FROM pg_sequence
"""

CatalogEntry = tuple[str, int, str, str]


async def all_of_catalog(database: Database) -> frozenset[CatalogEntry]:
    """Return every object of a database, with its id and privileges, the server's own included."""
    async with database.driver_as(ADMIN) as driver:
        return frozenset((row[0], row[1], row[2], row[3]) for row in await driver.fetch(_EVERYTHING))
