"""A cluster as plain rows of its tables, put into a database by plain SQL."""

from collections.abc import Mapping, Sequence
from typing import Final

from tests.support.databases import DriverConnection

Row = Mapping[str, object]


# Rows by table; the rows of one table all have the same columns.
ClusterRows = Mapping[str, Sequence[Row]]


# In the order in which they can be inserted.
TABLES: Final = (
    "slot_types",
    "resource_policies",
    "domains",
    "projects",
    "users",
    "keypairs",
    "quotas",
    "scaling_groups",
    "agents",
    "agent_slots",
    "sessions",
    "kernels",
    "session_dependencies",
    "reservations",
    "kernel_reservations",
)


async def insert_rows(connection: DriverConnection, table: str, rows: Sequence[Row]) -> None:
    """Insert rows of one table, in the connection's role."""
    if rows:
        columns = list(rows[0])
        places = ", ".join(f"${number}" for number in range(1, len(columns) + 1))
        await connection.executemany(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})",
            [[row[column] for column in columns] for row in rows],
        )


async def fill(connection: DriverConnection, cluster: ClusterRows) -> None:
    """Empty the database, then insert a whole cluster."""
    await connection.execute(f"TRUNCATE {', '.join(TABLES)} CASCADE")
    for table in TABLES:
        await insert_rows(connection, table, cluster.get(table, ()))
