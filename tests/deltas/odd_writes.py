"""Writes that few refreshes can follow, and those that take locks which others wait for."""

from collections.abc import Sequence
from random import Random
from typing import Final
from uuid import UUID

from tests.deltas import writes
from tests.deltas.writes import Write, session_id
from tests.support.databases import DriverConnection

# As if a quarter of an hour had gone by.
PASSING_TIME: Final = """
SELECT set_config('scheduler_repo.keeps_changes', 'on', false);
UPDATE change_floor SET next_floor_at = next_floor_at - interval '15 minutes';
SELECT set_config('scheduler_repo.keeps_changes', '', false);
"""
_OURS: Final = """
SELECT format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tgrelid::regclass, tgname)
FROM pg_trigger WHERE tgrelid = $1::text::regclass AND tgname LIKE 'log%'
"""
# What is written while a trigger is off is what it would have logged, and no other one logs.
_SWITCHED: Final[Sequence[tuple[str, str, Write]]] = (
    ("sessions", "log_update", writes.prioritise),
    ("sessions", "log_delete", writes.delete),
    ("kernels", "log_update", writes.change_request),
    ("kernels", "log_usage_of_update", writes.occupy),
    ("agents", "log_update", writes.change_agent),
    ("agent_slots", "log_update", writes.fill_agent),
    ("quotas", "log_update", writes.limit),
)


async def empty(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(f"TRUNCATE {rng.choice(['kernel_reservations', 'session_dependencies'])}")


async def add_slot_type(connection: DriverConnection, _rng: Random) -> None:
    await connection.execute(
        "INSERT INTO slot_types (name, slot_index) SELECT 'slot-' || count(*), count(*) FROM slot_types"
        " HAVING count(*) < 6"
    )


async def trim(connection: DriverConnection, rng: Random) -> None:
    """Trim what was known a quarter of an hour ago, or all that is known now."""
    for _ in range(rng.choice([1, 2, 2])):
        await connection.execute(f"{PASSING_TIME} SELECT trim_changes(interval '10 minutes', 1000)")


async def rebuild(connection: DriverConnection, _rng: Random) -> None:
    await connection.execute("SELECT rebuild_usage()")


async def switch_off(connection: DriverConnection, rng: Random) -> None:
    """Write something while one of the triggers is off, or all are."""
    table, trigger, write = rng.choice(_SWITCHED)
    which = trigger if rng.random() < 0.8 else "USER"
    # A vacuum that is just at the table is not worth giving up for.
    await connection.execute("SET LOCAL lock_timeout = '200ms'")
    await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER {which}")
    for _ in range(3):
        await write(connection, rng)
    await connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER {which}")
    for (statement,) in await connection.fetch(_OURS, table):
        await connection.execute(statement)
    if "usage" in which or (which == "USER" and table in ("sessions", "kernels")):
        # What owners occupy was not counted meanwhile.
        await connection.execute("SELECT rebuild_usage()")


async def rename(connection: DriverConnection, rng: Random) -> None:
    """Change a key, where nothing refers to it."""
    other = UUID(int=1_000 + 100 + rng.randrange(3))
    one, two = rng.sample([session_id(rng), other, UUID(int=1_000 + 100)], 2)
    kernel = UUID(int=one.int << 8)
    move = "UPDATE agent_slots SET agent_id = $2 WHERE agent_id = $1 AND slot_name = 'cpu'"
    statement, *arguments = rng.choice(
        [
            (
                "UPDATE sessions AS s SET id = $2 WHERE id = $1"
                " AND NOT EXISTS (SELECT FROM kernels WHERE session_id = s.id)"
                " AND NOT EXISTS (SELECT FROM sessions WHERE id = $2)",
                one,
                two,
            ),
            (
                "UPDATE kernels SET session_id = $2, kernel_index = kernel_index + 3 WHERE session_id = $1",
                one,
                two,
            ),
            ("UPDATE kernels SET id = $2 WHERE id = $1", kernel, UUID(int=kernel.int + 9)),
            ("UPDATE session_dependencies SET depends_on = $2 WHERE depends_on = $1", one, two),
            ("UPDATE quotas SET owner_id = $2 WHERE owner_id = $1", *rng.sample(["key-0", "key-9"], 2)),
            (move, *rng.sample(["agent-3", "agent-4"], 2)),
        ]
    )
    await connection.execute(statement, *arguments)
