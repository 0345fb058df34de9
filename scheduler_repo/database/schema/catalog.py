"""Reads the definitions of the package's tables from PostgreSQL's catalogs, and compares two schemas."""

import enum
from collections.abc import Mapping, Sequence
from typing import Final, Optional

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler_repo.database.sql_files import read_sql_file


class SchemaObjectKind(enum.StrEnum):
    """The kind of an object in a schema."""

    TABLE = "table"
    COLUMN = "column"
    CONSTRAINT = "constraint"
    INDEX = "index"
    TRIGGER = "trigger"
    FUNCTION = "function"


class SchemaObject(msgspec.Struct, frozen=True, order=True):
    """One object; ``name`` is the table's, or ``table.name`` for what belongs to one."""

    kind: SchemaObjectKind
    name: str

    @property
    def table(self) -> Optional[str]:
        """The table that it is a part of; None for tables themselves and for functions."""
        if self.kind in (SchemaObjectKind.TABLE, SchemaObjectKind.FUNCTION):
            return None
        return self.name.partition(".")[0]


class SchemaDifference(msgspec.Struct, frozen=True):
    """One object that is not as the package makes it; None where it is missing."""

    kind: SchemaObjectKind
    name: str
    expected: Optional[str]
    found: Optional[str]


Catalog = Mapping[SchemaObject, str]
_READ_OBJECTS: Final = sa.text(read_sql_file("catalog.sql"))


async def read_catalog(connection: AsyncConnection, schema: str, tables: Sequence[str]) -> Catalog:
    """Read all that belongs to the named tables of a schema, and the schema's functions.

    Sets the transaction's search_path to the schema, so that the texts do not name it. Two statements.
    """
    await set_search_path(connection, schema)
    rows = await connection.execute(_READ_OBJECTS, {"schema": schema, "tables": list(tables)})
    return {SchemaObject(SchemaObjectKind(kind), name): definition for kind, name, definition in rows}


async def set_search_path(connection: AsyncConnection, schema: str) -> None:
    """Look up and create names in ``schema`` alone until the transaction ends.

    Temporary tables come last, so that none hides a table from a function that keeps this search_path.
    """
    await connection.execute(
        sa.text("SELECT set_config('search_path', quote_ident(:schema) || ', pg_temp', true)"),
        {"schema": schema},
    )


def compare_catalogs(expected: Catalog, found: Catalog) -> tuple[SchemaDifference, ...]:
    """Return what differs, ordered.

    A missing table stands for all its parts; functions that are not expected do not matter.
    """
    missing = {item.name for item in expected if item.kind is SchemaObjectKind.TABLE and item not in found}
    differences = []
    for item in sorted(expected.keys() | found.keys()):
        if item.table in missing or (item.kind is SchemaObjectKind.FUNCTION and item not in expected):
            continue
        if expected.get(item) != found.get(item):
            differences.append(SchemaDifference(item.kind, item.name, expected.get(item), found.get(item)))
    return tuple(differences)
