"""A row of any table that another client's open transaction holds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Optional

import msgspec

from tests.support.databases import DriverConnection

# The row that was made last, and with it what the last item of a batch needs; an agent's row is never new.
_NEWEST: Final = {
    "agents": "substring(id FROM '[0-9]+')::int DESC",
    "agent_slots": "substring(agent_id FROM '[0-9]+')::int DESC, slot_name",
    "agent_heartbeats": "substring(agent_id FROM '[0-9]+')::int DESC",
    "sessions": "id DESC",
    "kernels": "id DESC",
    "reservations": "session_id DESC",
    "kernel_reservations": "kernel_id DESC",
    "scaling_groups": "name = 'gpu' DESC",
}


class HeldRow(msgspec.Struct, frozen=True):
    """A row and the server process of the client that holds it."""

    table: str
    row_id: str
    pid: int


async def key_of(connection: DriverConnection, table: str) -> str:
    """The primary key's columns as one text."""
    columns = await connection.fetchval(
        "SELECT string_agg('t.' || quote_ident(a.attname), ', ' ORDER BY k.place)"
        " FROM pg_index AS i CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)"
        " JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum"
        " WHERE i.indrelid = $1::text::regclass AND i.indisprimary",
        table,
    )
    return f"concat_ws(' ', {columns})"


@asynccontextmanager
async def held_row(
    holder: DriverConnection,
    table: str,
    condition: str = "true",
    *,
    strength: str = "UPDATE",
    in_savepoint: bool = False,
) -> AsyncIterator[Optional[HeldRow]]:
    """Hold one row of a table inside the block; None if it has none that meets the condition."""
    key = await key_of(holder, table)
    order = _NEWEST.get(table, "ctid DESC")
    transaction = holder.transaction()
    await transaction.start()
    try:
        if in_savepoint:
            await holder.execute("SAVEPOINT inner_part")
        row_id = await holder.fetchval(
            f"SELECT {key} FROM {table} AS t WHERE {condition} ORDER BY {order} LIMIT 1 FOR {strength}"
        )
        pid = holder.get_server_pid()
        yield None if row_id is None else HeldRow(table, row_id, pid)
    finally:
        await transaction.rollback()
