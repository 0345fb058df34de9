"""Writes of all kinds, straight in SQL: what an engine would do, and what it never does."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final
from uuid import UUID

from tests.support.databases import DriverConnection

GROUPS: Final = ("gpu", "other")
SESSIONS: Final = 24
AGENTS: Final = tuple(f"agent-{number}" for number in range(5))
OWNERS: Final = 3
_STATUSES: Final = ("PENDING", "PENDING", "SCHEDULED", "RUNNING", "RUNNING", "TERMINATED", "CANCELLED")
_OCCUPYING: Final = ("SCHEDULED", "PREPARING", "RUNNING", "TERMINATING")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)

SETUP: Final = """
INSERT INTO slot_types (name, slot_index) VALUES ('cpu', 0), ('mem', 1);
INSERT INTO scaling_groups (name, preemption_scope) VALUES ('gpu', 'GROUP'), ('other', NULL);
INSERT INTO domains (name) SELECT 'domain-' || n FROM generate_series(0, 2) AS n;
INSERT INTO projects (id, name, domain_name)
SELECT ('00000000-0000-0000-0000-0000000002' || lpad(n::text, 2, '0'))::uuid, 'project-' || n, 'domain-' || n
FROM generate_series(0, 2) AS n;
INSERT INTO users (id, name, domain_name)
SELECT ('00000000-0000-0000-0000-0000000001' || lpad(n::text, 2, '0'))::uuid, 'user-' || n, 'domain-' || n
FROM generate_series(0, 2) AS n;
INSERT INTO keypairs (access_key, user_id)
SELECT 'key-' || n, ('00000000-0000-0000-0000-0000000001' || lpad(n::text, 2, '0'))::uuid
FROM generate_series(0, 2) AS n;
INSERT INTO resource_policies (name, slot_limits) VALUES ('small', '{4}'), ('large', '{40,NULL}');
INSERT INTO agents (id, scaling_group, address, architecture)
SELECT 'agent-' || n, 'gpu', 'tcp://agent', 'x86_64' FROM generate_series(0, 3) AS n;
INSERT INTO agent_slots (agent_id, slot_name, capacity)
SELECT 'agent-' || n, name, 1000 FROM generate_series(0, 3) AS n, slot_types;
"""

Write = Callable[[DriverConnection, Random], Awaitable[object]]


def session_id(rng: Random) -> UUID:
    return UUID(int=1_000 + rng.randrange(SESSIONS))


def owner_of(rng: Random) -> tuple[str, UUID, UUID, str]:
    key, project = rng.randrange(OWNERS), rng.randrange(OWNERS)
    user_id = UUID(f"00000000-0000-0000-0000-0000000001{key:02}")
    project_id = UUID(f"00000000-0000-0000-0000-0000000002{project:02}")
    return f"key-{key}", user_id, project_id, f"domain-{project}"


async def create(connection: DriverConnection, rng: Random) -> None:
    session, owner, group = session_id(rng), owner_of(rng), rng.choice(GROUPS)
    created_at = _START + timedelta(seconds=rng.randrange(4))
    await connection.execute(
        "INSERT INTO sessions (id, name, scaling_group, access_key, user_id, project_id, domain_name,"
        " session_type, cluster_mode, priority, created_at, designated_agent_ids)"
        " VALUES ($1, 's', $2, $3, $4, $5, $6, 'BATCH', 'MULTI_NODE', $7, $8, $9) ON CONFLICT DO NOTHING",
        session,
        group,
        *owner,
        rng.randrange(4),
        created_at,
        rng.sample(AGENTS, rng.randrange(2)),
    )
    for index in range(rng.randrange(3)):
        await connection.execute(
            "INSERT INTO kernels (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id,"
            " domain_name, requested_slots) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            UUID(int=(session.int << 8) + index),
            session,
            index,
            group,
            *owner,
            [rng.randrange(5) for _ in range(rng.randrange(4))],
        )


async def move(connection: DriverConnection, rng: Random) -> None:
    """Change a session's status, and its kernels' with it or not."""
    session, status = session_id(rng), rng.choice(_STATUSES)
    occupies = status in _OCCUPYING
    result = rng.choice([None, "SUCCESS", "FAILURE"]) if status in ("TERMINATED", "CANCELLED") else None
    ahead = timedelta(seconds=rng.choice([0, 0, 3_600]))
    await connection.execute(
        "UPDATE sessions SET status = $2, result = $3, dispatched_at = NULL, status_changed_at = $4"
        " WHERE id = $1",
        session,
        status,
        result,
        datetime.now(UTC) + ahead,
    )
    if rng.random() < 0.8:
        await connection.execute(
            "UPDATE kernels SET status = $2, agent_id = CASE WHEN $3 THEN $4 END,"
            " occupied_slots = CASE WHEN $3 THEN requested_slots ELSE '{}' END WHERE session_id = $1",
            session,
            status,
            occupies,
            rng.choice(AGENTS[:4]),
        )


async def prioritise(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE sessions SET priority = $2 WHERE id = ANY ($1)",
        [session_id(rng) for _ in range(rng.randrange(1, 4))],
        rng.randrange(8),
    )


async def change_group(connection: DriverConnection, rng: Random) -> None:
    session, group = session_id(rng), rng.choice(GROUPS)
    await connection.execute("UPDATE sessions SET scaling_group = $2 WHERE id = $1", session, group)
    if rng.random() < 0.7:
        await connection.execute("UPDATE kernels SET scaling_group = $2 WHERE session_id = $1", session, group)


async def change_owner(connection: DriverConnection, rng: Random) -> None:
    session, owner = session_id(rng), owner_of(rng)
    for table, key in (("sessions", "id"), ("kernels", "session_id")):
        await connection.execute(
            f"UPDATE {table} SET access_key = $2, user_id = $3, project_id = $4, domain_name = $5"
            f" WHERE {key} = $1",
            session,
            *owner,
        )


async def change_request(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE kernels SET requested_slots = $2 WHERE session_id = $1",
        session_id(rng),
        [rng.randrange(7) for _ in range(rng.randrange(4))],
    )


async def occupy(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE kernels SET occupied_slots = $2 WHERE session_id = $1 AND agent_id IS NOT NULL",
        session_id(rng),
        [rng.choice([0, 3, 2**62]) for _ in range(rng.randrange(4))],
    )


async def delete(connection: DriverConnection, rng: Random) -> None:
    await connection.execute("DELETE FROM sessions WHERE id = $1", session_id(rng))


async def depend(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "INSERT INTO session_dependencies (session_id, depends_on)"
        " SELECT id, $2 FROM sessions WHERE id = $1 AND id <> $2 ON CONFLICT DO NOTHING",
        session_id(rng),
        session_id(rng),
    )


async def depend_no_more(connection: DriverConnection, rng: Random) -> None:
    await connection.execute("DELETE FROM session_dependencies WHERE session_id = $1", session_id(rng))


async def redirect(connection: DriverConnection, rng: Random) -> None:
    """Give a dependency to another session: the row's key changes."""
    await connection.execute(
        "UPDATE session_dependencies SET session_id = $2 WHERE session_id = $1 AND depends_on <> $2",
        session_id(rng),
        session_id(rng),
    )


async def change_agent(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE agents SET status = $2, is_schedulable = $3, scaling_group = $4, container_count = $5"
        " WHERE id = $1",
        rng.choice(AGENTS),
        rng.choice(["ALIVE", "ALIVE", "ALIVE", "DRAINING", "LOST"]),
        rng.random() < 0.9,
        rng.choice(["gpu", "gpu", "other"]),
        rng.randrange(5),
    )


async def fill_agent(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE agent_slots SET occupied = $2 WHERE agent_id = $1", rng.choice(AGENTS), rng.randrange(1_000)
    )


async def add_agent(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "INSERT INTO agents (id, scaling_group, address, architecture)"
        " VALUES ($1, 'gpu', 'tcp://new', 'aarch64') ON CONFLICT DO NOTHING",
        AGENTS[-1],
    )
    await connection.execute(
        "INSERT INTO agent_slots (agent_id, slot_name, capacity) VALUES ($1, 'mem', 7) ON CONFLICT DO NOTHING",
        AGENTS[-1],
    )


async def remove_agent(connection: DriverConnection, _rng: Random) -> None:
    await connection.execute("DELETE FROM agents WHERE id = $1", AGENTS[-1])


async def limit(connection: DriverConnection, rng: Random) -> None:
    scope, owner = rng.choice(
        list(zip(("ACCESS_KEY", "USER", "PROJECT", "DOMAIN"), owner_of(rng), strict=True))
    )
    await connection.execute(
        "INSERT INTO quotas (scope, owner_id, resource_policy, slot_limits) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT (scope, owner_id) DO UPDATE"
        " SET resource_policy = excluded.resource_policy, slot_limits = excluded.slot_limits",
        scope,
        str(owner),
        rng.choice([None, "small", "large"]),
        [rng.choice([None, 9])],
    )


async def limit_no_more(connection: DriverConnection, rng: Random) -> None:
    await connection.execute("DELETE FROM quotas WHERE scope = $1", rng.choice(["ACCESS_KEY", "DOMAIN"]))


async def change_policy(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE resource_policies SET max_concurrent_sessions = $1 WHERE name = $2",
        rng.randrange(9),
        rng.choice(["small", "large"]),
    )


async def change_options(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "UPDATE scaling_groups SET is_active = $1, preemption_scope = $2 WHERE name = $3",
        rng.random() < 0.7,
        rng.choice([None, "GROUP", "GROUP"]),
        rng.choice(GROUPS),
    )


async def reserve(connection: DriverConnection, rng: Random) -> None:
    session = session_id(rng)
    await connection.execute(
        "INSERT INTO reservations (session_id, scaling_group)"
        " SELECT id, scaling_group FROM sessions WHERE id = $1 ON CONFLICT DO NOTHING",
        session,
    )
    await connection.execute(
        "INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)"
        " SELECT id, session_id, $2 FROM kernels WHERE session_id = $1 ON CONFLICT DO NOTHING",
        session,
        rng.choice(AGENTS[:4]),
    )


async def reserve_no_more(connection: DriverConnection, rng: Random) -> None:
    await connection.execute("DELETE FROM reservations WHERE session_id = $1", session_id(rng))


# Whatever a read carries, one column at a time: (table, key, column, values).
_COLUMNS: Final = (
    ("sessions", "name", ("'one'", "'other'")),
    ("sessions", "session_type", ("'BATCH'", "'INTERACTIVE'")),
    ("sessions", "cluster_mode", ("'SINGLE_NODE'", "'MULTI_NODE'")),
    ("sessions", "priority", ("0", "2", "priority + 1")),
    ("sessions", "created_at", ("'2026-01-01 00:00:02+00'", "created_at - interval '1 s'")),
    ("sessions", "requested_start_at", ("NULL", "'2026-01-01+00'", "'2126-01-01+00'")),
    ("sessions", "designated_agent_ids", ("'{}'", "'{agent-1}'")),
    ("sessions", "retry_count", ("retry_count + 1",)),
    ("sessions", "failed_agent_ids", ("'{}'", "'{agent-2,node-1}'")),
    ("sessions", "status_changed_at", ("now()", "now() + interval '1 h'", "'2026-01-01+00'")),
    ("sessions", "result", ("NULL", "'SUCCESS'", "'FAILURE'")),
    ("kernels", "architecture", ("NULL", "'x86_64'", "'aarch64'")),
    ("kernels", "kernel_index", ("kernel_index + 3",)),
    ("kernels", "agent_id", ("'agent-0'", "'agent-3'")),
    ("kernels", "status", ("'PENDING'", "'RUNNING'", "'TERMINATED'")),
    ("kernels", "scaling_group", ("'gpu'", "'other'")),
    ("kernels", "access_key", ("'key-1'",)),
    ("agents", "address", ("'tcp://moved'", "'tcp://back'")),
    ("agents", "architecture", ("'x86_64'", "'aarch64'")),
    ("agents", "max_containers", ("NULL", "9")),
    ("agents", "container_count", ("3", "5")),
    ("agents", "is_schedulable", ("true", "false")),
    ("agent_slots", "capacity", ("1000", "1001")),
    ("scaling_groups", "pending_timeout", ("NULL", "'1 h'")),
    ("scaling_groups", "preemption_min_runtime", ("'0'", "'1 s'")),
    ("resource_policies", "slot_limits", ("'{}'", "'{7,NULL,3}'")),
    ("resource_policies", "max_kernels_per_session", ("NULL", "2")),
    ("quotas", "max_concurrent_sessions", ("NULL", "5")),
    ("quotas", "slot_limits", ("'{}'", "'{NULL,8}'")),
    ("quotas", "resource_policy", ("NULL", "'small'")),
    ("reservations", "scaling_group", ("'gpu'", "'other'")),
    ("kernel_reservations", "agent_id", ("'agent-1'", "'agent-2'")),
)


_KEYS: Final = {
    "sessions": "id",
    "kernels": "id",
    "agents": "id",
    "agent_slots": "agent_id || slot_name",
    "scaling_groups": "name",
    "resource_policies": "name",
    "quotas": "scope || owner_id",
    "reservations": "session_id",
    "kernel_reservations": "kernel_id",
}


async def change_anything(connection: DriverConnection, rng: Random) -> None:
    """Change one column that a read carries, in a row or two, or now and then in all."""
    table, column, values = rng.choice(_COLUMNS)
    some = f"SELECT ctid FROM {table} ORDER BY md5(({_KEYS[table]})::text || $1) LIMIT $2"
    count = rng.choice([1, 1, 1, 1, 2, 100])
    await connection.execute(
        f"UPDATE {table} SET {column} = {rng.choice(values)} WHERE ctid = ANY (ARRAY({some}))",
        str(rng.randrange(1_000)),
        count,
    )


async def beat(connection: DriverConnection, rng: Random) -> None:
    await connection.execute(
        "INSERT INTO agent_heartbeats (agent_id, heartbeat_at) SELECT id, now() FROM agents WHERE id = $1"
        " ON CONFLICT (agent_id) DO UPDATE SET heartbeat_at = now()",
        rng.choice(AGENTS),
    )


async def fold(connection: DriverConnection, rng: Random) -> None:
    await connection.execute("SELECT fold_usage($1)", rng.choice([1, 3, 100_000]))


WRITES: Final[tuple[Write, ...]] = (
    *(create,) * 5,
    *(move,) * 5,
    *(prioritise, change_group, change_owner, change_request, occupy, delete, *(depend,) * 6),
    *(depend_no_more, redirect, change_agent, change_agent, fill_agent, add_agent, remove_agent),
    *(change_anything,) * 4,
    *(
        limit,
        limit,
        limit_no_more,
        change_policy,
        change_options,
        reserve,
        reserve,
        reserve_no_more,
        beat,
        fold,
    ),
)
