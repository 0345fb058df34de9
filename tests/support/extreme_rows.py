"""Rows that every CHECK allows and whose amounts, counts and times are as large as their columns."""

from typing import Final

from tests.support.databases import DriverConnection
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, GROUP, PROJECT, USER

LARGEST: Final = 2**63 - 1
MOST: Final = 2**31 - 1

# So many that their sums pass 64 bits too.
SIZE: Final = 4
AGENTS: Final = tuple(f"extreme-{number}" for number in range(1, SIZE + 1))

_OWNED: Final = f"'{GROUP}', '{ACCESS_KEY}', '{USER}', '{PROJECT}', '{DOMAIN}'"
_SLOTS: Final = f"ARRAY(SELECT {LARGEST}::bigint FROM generate_series(1, 10))"


def _id(kind: int, number: str) -> str:
    return f"('{kind:08d}-0000-0000-0000-' || lpad(({number})::text, 12, '0'))::uuid"


_OWNERS: Final = "scaling_group, access_key, user_id, project_id, domain_name"
_SESSION: Final = f"id, name, {_OWNERS}, session_type, cluster_mode"

_KERNEL: Final = f"id, session_id, kernel_index, {_OWNERS}"

SCRIPT: Final = f"""
INSERT INTO slot_types (name, slot_index, units_per_whole)
    SELECT 'wide-' || n, n, {LARGEST} FROM generate_series(2, 9) AS n;
INSERT INTO agents (id, scaling_group, address, architecture, container_count)
    SELECT 'extreme-' || n, '{GROUP}', 'tcp://extreme', 'x86_64', CASE n WHEN {SIZE} THEN {MOST} ELSE 1 END
    FROM generate_series(1, {SIZE}) AS n;
INSERT INTO agent_slots (agent_id, slot_name, capacity, occupied, reported_capacity)
    SELECT 'extreme-' || n, t.name, {LARGEST}, {LARGEST}, {LARGEST}
    FROM generate_series(1, {SIZE}) AS n, slot_types AS t;
INSERT INTO agent_heartbeats SELECT id, '0001-01-02 00:00:00+00' FROM agents WHERE id LIKE 'extreme-%';
INSERT INTO sessions ({_SESSION}, priority, status, created_at, status_changed_at, retry_count)
    SELECT {_id(7, "n")}, 'extreme', {_OWNED}, 'BATCH', 'MULTI_NODE', -2147483648, 'RUNNING',
           '0001-01-02 00:00:00+00', '0001-01-02 00:00:00+00', {MOST}
    FROM generate_series(1, {SIZE}) AS n;
INSERT INTO kernels ({_KERNEL}, status, agent_id, requested_slots, occupied_slots)
    SELECT {_id(8, "n * 10 + i")}, {_id(7, "n")}, i, {_OWNED}, 'RUNNING', 'extreme-' || n, {_SLOTS}, {_SLOTS}
    FROM generate_series(1, {SIZE}) AS n, generate_series(0, 1) AS i;
INSERT INTO sessions ({_SESSION}, priority, created_at, retry_count)
    SELECT {_id(9, "n")}, 'extreme', {_OWNED}, 'BATCH', 'SINGLE_NODE', {MOST}, '9999-12-30 00:00:00+00', {MOST}
    FROM generate_series(1, {SIZE}) AS n;
INSERT INTO kernels ({_KERNEL}, requested_slots)
    SELECT {_id(10, "n * 10 + i")}, {_id(9, "n")}, i, {_OWNED}, {_SLOTS}
    FROM generate_series(1, {SIZE}) AS n, generate_series(0, 1) AS i;
INSERT INTO reservations (session_id, scaling_group)
    SELECT {_id(9, "n")}, '{GROUP}' FROM generate_series(1, 2) AS n;
INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)
    SELECT {_id(10, "n * 10 + i")}, {_id(9, "n")}, 'extreme-1'
    FROM generate_series(1, 2) AS n, generate_series(0, 1) AS i;
"""


async def add_extreme_rows(connection: DriverConnection) -> None:
    """Add them, as the owner of the tables, to a cluster of ``small_cluster``."""
    await connection.execute(SCRIPT)
