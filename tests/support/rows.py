"""A small cluster as rows, and a second row per table to break constraints with."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from tests.support.databases import SCHEDULER, Database, DriverConnection

SESSION: Final = UUID(int=1)


OTHER_SESSION: Final = UUID(int=2)


KERNEL: Final = UUID(int=3)


PROJECT: Final = UUID(int=4)


USER: Final = UUID(int=5)


VFOLDER: Final = UUID(int=6)


OPERATION: Final = UUID(int=10)


_OWNERS: Final = {
    "scaling_group": "gpu",
    "access_key": "AKEY",
    "user_id": USER,
    "project_id": PROJECT,
    "domain_name": "lab",
}


Row = Mapping[str, object]


# In the order in which they can be inserted.
ROWS: Final[Mapping[str, Row]] = {
    "slot_types": {"name": "cpu", "slot_index": 0, "units_per_whole": 1000},
    "resource_policies": {"name": "default", "slot_limits": [4000, None], "max_concurrent_sessions": 3},
    "domains": {"name": "lab"},
    "projects": {"id": PROJECT, "name": "vision", "domain_name": "lab"},
    "users": {"id": USER, "name": "ada", "domain_name": "lab"},
    "keypairs": {"access_key": "AKEY", "user_id": USER},
    "quotas": {"scope": "USER", "owner_id": str(USER), "resource_policy": "default", "slot_limits": [None, 9]},
    "vfolders": {"id": VFOLDER, "name": "data", "host": "nfs", "user_id": USER},
    "scaling_groups": {"name": "gpu"},
    "scaling_group_grants": {"scope": "USER", "owner_id": str(USER), "scaling_group": "gpu"},
    "agents": {"id": "a1", "scaling_group": "gpu", "address": "tcp://a1", "architecture": "x86_64"},
    "agent_slots": {"agent_id": "a1", "slot_name": "cpu", "capacity": 4000},
    "agent_heartbeats": {"agent_id": "a1", "heartbeat_at": datetime(2026, 1, 1, tzinfo=UTC)},
    "agent_history": {"agent_id": "a1", "to_status": "ALIVE"},
    "sessions": {
        "id": SESSION,
        "name": "train",
        "session_type": "BATCH",
        "cluster_mode": "SINGLE_NODE",
        "designated_agent_ids": ["a1"],
        **_OWNERS,
    },
    "kernels": {
        "id": KERNEL,
        "session_id": SESSION,
        "kernel_index": 0,
        "requested_slots": [1000],
        **_OWNERS,
    },
    "session_dependencies": {"session_id": SESSION, "depends_on": OTHER_SESSION},
    "session_vfolder_mounts": {
        "session_id": SESSION,
        "vfolder_id": VFOLDER,
        "mount_path": "/data",
        "permission": "READ_ONLY",
    },
    "session_history": {"session_id": SESSION, "from_status": None, "to_status": "PENDING"},
    "reservations": {"session_id": SESSION, "scaling_group": "gpu"},
    "kernel_reservations": {"kernel_id": KERNEL, "session_id": SESSION, "agent_id": "a1"},
    "operations": {"id": OPERATION, "kind": "schedule", "request_digest": b"\x01", "result": b"\x02"},
    "scheduler_leases": {
        "scaling_group": "gpu",
        "holder": "scheduler-1",
        "epoch": 1,
        "acquired_at": datetime(2026, 1, 1, tzinfo=UTC),
        "expires_at": datetime(2026, 1, 2, tzinfo=UTC),
    },
}


# Which triggers and functions of the database alone write.
KEPT_BY_DATABASE: Final = ("change_log", "usage_log", "owner_usage", "change_floor", "server_life")


_KEYS_OF_SECOND: Final[Mapping[str, Row]] = {
    "slot_types": {"name": "mem", "slot_index": 1},
    "resource_policies": {"name": "second"},
    "quotas": {"owner_id": str(UUID(int=0xABCDEF))},
    "vfolders": {"id": UUID(int=7)},
    "scaling_groups": {"name": "second"},
    "scaling_group_grants": {"owner_id": str(UUID(int=0xABCDEF))},
    "agents": {"id": "a2"},
    "agent_slots": {"agent_id": "a1", "slot_name": "disk"},
    "sessions": {"id": OTHER_SESSION},
    "kernels": {"id": UUID(int=8), "kernel_index": 1},
    "session_dependencies": {"depends_on": UUID(int=9)},
    "session_vfolder_mounts": {"mount_path": "/second"},
    "operations": {"id": UUID(int=11)},
    "scheduler_leases": {"scaling_group": "idle"},
}


async def insert(driver: DriverConnection, table: str, row: Row) -> None:
    """Insert one row, in the connection's role."""
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    await driver.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def insert_all(database: Database) -> None:
    """Insert the cluster as the scheduler role."""
    async with database.driver_as(SCHEDULER) as driver:
        for table, row in ROWS.items():
            await insert(driver, table, row)
        await insert(driver, "slot_types", {"name": "disk", "slot_index": 5})
        await insert(driver, "scaling_groups", {"name": "idle"})


def second_row(table: str, changed: Row) -> Row:
    """A row that could be inserted beside the first, but for what is changed in it."""
    return {**ROWS[table], **_KEYS_OF_SECOND.get(table, {}), **changed}
