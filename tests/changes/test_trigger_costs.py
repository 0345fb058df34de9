"""The triggers that log changes take a small part of the time of every bulk write."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Final
from uuid import uuid4

import pytest

from tests.support.databases import ADMIN, DriverConnection
from tests.support.own_server import own_database

_MOST: Final = 0.08
# Above the aim of 8 %: nothing but kernels is written, and what each has held is summed up, for 2,000 owners.
_ABOVE_THE_AIM: Final = {"end of kernels": 0.12}
# A machine that does something else meanwhile may stop a trigger or the rest: one turn without that will do.
_TURNS: Final = 50
_OWNERS: Final = (
    "'k' || n % 2000, lpad((n % 2000)::text, 32, '0')::uuid, lpad((n % 20)::text, 32, '0')::uuid, 'd'"
)
_IDS: Final = "access_key, user_id, project_id, domain_name"
_SESSIONS: Final = f"""
INSERT INTO sessions (id, name, scaling_group, {_IDS}, session_type, cluster_mode, status, result)
SELECT lpad(n::text, 32, '0')::uuid, 's', 'gpu', {_OWNERS}, 'BATCH', 'SINGLE_NODE', status,
       CASE WHEN status = 'TERMINATED' THEN 'SUCCESS' END
FROM (SELECT n, CASE n / 10000 WHEN 0 THEN 'RUNNING' WHEN 1 THEN 'PENDING' ELSE 'TERMINATED' END AS status
      FROM generate_series(0, 24999) AS n) AS numbers
"""
_KERNELS: Final = f"""
INSERT INTO kernels (
    id, session_id, kernel_index, scaling_group, {_IDS}, requested_slots, occupied_slots, status, agent_id)
SELECT id, id, 0, scaling_group, {_IDS}, slots, CASE WHEN status = 'PENDING' THEN '{{}}' ELSE slots END, status,
       CASE WHEN status <> 'PENDING' THEN 'a1' END
FROM sessions
CROSS JOIN LATERAL (
    SELECT ARRAY[1000 * (1 + ascii(right(id::text, 1)) % 8), 4 << 30, 550, 0]::bigint[] AS slots) AS requested
"""
_CLUSTER: Final = f"""
INSERT INTO slot_types (name, slot_index) SELECT 'slot-' || n, n FROM generate_series(0, 3) AS n;
INSERT INTO domains (name) VALUES ('d');
INSERT INTO projects (id, name, domain_name)
SELECT lpad(n::text, 32, '0')::uuid, n, 'd' FROM generate_series(0, 19) AS n;
INSERT INTO users (id, name, domain_name)
SELECT lpad(n::text, 32, '0')::uuid, n, 'd' FROM generate_series(0, 1999) AS n;
INSERT INTO keypairs (access_key, user_id) SELECT 'k' || name, id FROM users;
INSERT INTO scaling_groups (name) VALUES ('gpu'), ('cpu');
INSERT INTO agents (id, scaling_group, address, architecture)
SELECT 'a' || n, 'gpu', 'tcp://a', 'x86_64' FROM generate_series(0, 1999) AS n;
INSERT INTO agent_slots (agent_id, slot_name, capacity)
SELECT a.id, s.name, 99 FROM agents AS a CROSS JOIN slot_types AS s;
INSERT INTO agent_heartbeats SELECT id, now() FROM agents;
{_SESSIONS}; {_KERNELS};
CREATE VIEW new_sessions AS
SELECT gen_random_uuid() AS id, name, scaling_group, {_IDS}, session_type, cluster_mode
FROM sessions WHERE status = 'PENDING';
SELECT fold_usage()
"""
# The ids are given, as by a client that knows them: to find them is no part of a write.
_OF: Final = {"running": "RUNNING", "pending": "PENDING", "ended": "TERMINATED"}
_WRITES: Final = {
    "allocation of kernels": (
        "UPDATE kernels SET status = 'SCHEDULED', agent_id = 'a1', occupied_slots = requested_slots"
        " WHERE id = ANY ($1)",
        "pending",
    ),
    "allocation of sessions": ("UPDATE sessions SET status = 'SCHEDULED' WHERE id = ANY ($1)", "pending"),
    "transition of kernels": ("UPDATE kernels SET status = 'TERMINATING' WHERE id = ANY ($1)", "running"),
    "transition of sessions": ("UPDATE sessions SET status = 'TERMINATING' WHERE id = ANY ($1)", "running"),
    "end of kernels": (
        "UPDATE kernels SET status = 'TERMINATED', status_changed_at = now() WHERE id = ANY ($1)",
        "running",
    ),
    "end of sessions": (
        "UPDATE sessions SET status = 'TERMINATED', result = 'SUCCESS' WHERE id = ANY ($1)",
        "running",
    ),
    "other priorities": ("UPDATE sessions SET priority = priority + 1 WHERE id = ANY ($1)", "pending"),
    "purge": ("DELETE FROM sessions WHERE id = ANY ($1)", "ended"),
    "deletion of what runs": ("DELETE FROM sessions WHERE id = ANY ($1)", "running"),
    "move of sessions": ("UPDATE sessions SET scaling_group = 'cpu' WHERE id = ANY ($1)", "pending"),
    "move of kernels": ("UPDATE kernels SET scaling_group = 'cpu' WHERE id = ANY ($1)", "pending"),
    "move of agents": ("UPDATE agents SET scaling_group = 'cpu'", None),
    "capacities of agents": ("UPDATE agent_slots SET capacity = capacity + 1", None),
    "heartbeats": (
        "INSERT INTO agent_heartbeats SELECT id, now() FROM agents"
        " ON CONFLICT (agent_id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at",
        None,
    ),
    "enqueueing": (
        f"INSERT INTO sessions (id, name, scaling_group, {_IDS}, session_type, cluster_mode)"
        " SELECT * FROM new_sessions",
        None,
    ),
}
# Without their ids.
_COPIED: Final = {
    "sessions": f"name, scaling_group, {_IDS}, session_type, cluster_mode",
    "kernels": f"session_id, kernel_index + 1 AS kernel_index, scaling_group, {_IDS}, requested_slots",
}
_SPENT: Final = """
SELECT coalesce(sum(total_time), 0) FROM pg_stat_xact_user_functions
WHERE funcname LIKE 'log\\_%' OR funcname = 'drop_restored_row'
"""


async def _share(driver: DriverConnection, write: Callable[[], Awaitable[object]]) -> float:
    """Which part of a write's time was spent in the triggers' functions; the write is undone."""
    transaction = driver.transaction()
    await transaction.start()
    try:
        before = await driver.fetchval(_SPENT)
        started = perf_counter()
        await write()
        took = perf_counter() - started
        spent = await driver.fetchval(_SPENT) - before
    finally:
        await transaction.rollback()
    return float(spent) / 1000 / took


@pytest.mark.slow
async def test_triggers_take_a_small_part_of_each_bulk_write() -> None:
    """Each of 5,000 or 10,000 rows; of 2,000 owners."""
    settings = {"track_functions": "all", "autovacuum": "off", "jit": "off", "shared_buffers": "256MB"}
    found: dict[str, float] = {}
    async with own_database(settings) as (_, database), database.driver_as(ADMIN) as driver:
        await driver.execute(_CLUSTER)
        for table in ("sessions", "kernels", "agents", "agent_slots"):
            await driver.execute(f"VACUUM ANALYZE {table}")
        ids = {
            name: await driver.fetchval("SELECT array_agg(id) FROM sessions WHERE status = $1", status)
            for name, status in _OF.items()
        }
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            name: partial(driver.fetch, statement, *([] if of is None else [ids[of]]))
            for name, (statement, of) in _WRITES.items()
        }
        for table, columns in _COPIED.items():
            rows = await driver.fetch(f"SELECT {columns} FROM {table} WHERE status = 'PENDING'")
            new = [(uuid4(), *row) for row in rows]
            names = ["id", *rows[0].keys()]
            writes[f"COPY of {table}"] = partial(
                driver.copy_records_to_table, table, records=new, columns=names
            )
        for name, write in writes.items():
            for _ in range(_TURNS):
                found[name] = min(found.get(name, 1.0), await _share(driver, write))
                if found[name] < _ABOVE_THE_AIM.get(name, _MOST):
                    break
    too_much = {name: it for name, it in found.items() if it >= _ABOVE_THE_AIM.get(name, _MOST)}
    assert too_much == {}
