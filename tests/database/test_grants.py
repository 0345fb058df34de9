"""Who is granted what: what is listed here, and nothing else."""

from collections.abc import Mapping

from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.models import Base
from tests.support.databases import OWNER, READER, SCHEDULER, Database

_VIEWS = ("counted_usage", "unfolded_usage", "usage_parts")
_TABLES = sorted({*Base.metadata.tables, *_VIEWS, VERSION_TABLE})
_STATUS = "status status_changed_at"

# What the scheduler may write: the privileges on the whole table, and the columns of INSERT and UPDATE.
_WRITES: Mapping[str, tuple[str, str, str]] = {
    "slot_types": ("INSERT", "", "display_unit"),
    "resource_policies": ("INSERT", "", "slot_limits max_concurrent_sessions max_kernels_per_session"),
    "domains": ("INSERT", "", "is_active"),
    "projects": ("INSERT", "", "is_active"),
    "users": ("INSERT", "", "is_active"),
    "keypairs": ("INSERT", "", "is_active"),
    "quotas": ("INSERT", "", "resource_policy slot_limits max_concurrent_sessions"),
    "vfolders": ("INSERT", "", ""),
    "scaling_groups": (
        "INSERT",
        "",
        "is_active pending_timeout preemption_scope preemption_min_runtime is_public",
    ),
    "scaling_group_grants": ("INSERT DELETE", "", ""),
    "agents": (
        "INSERT",
        "",
        f"{_STATUS} scaling_group is_schedulable address architecture container_count max_containers"
        " returns_as",
    ),
    "agent_slots": ("INSERT", "", "capacity occupied reported_capacity"),
    "agent_heartbeats": ("INSERT", "", "heartbeat_at"),
    "agent_history": ("", "agent_id from_status to_status reason", ""),
    "sessions": (
        "INSERT DELETE",
        "",
        f"{_STATUS} priority result has_dependencies retry_count failed_agent_ids dispatched_at",
    ),
    "kernels": ("INSERT", "", f"{_STATUS} agent_id occupied_slots exit_code"),
    "session_dependencies": ("INSERT", "", ""),
    "session_vfolder_mounts": ("INSERT", "", ""),
    "session_history": ("", "session_id kernel_id from_status to_status reason", ""),
    "reservations": ("DELETE", "session_id scaling_group reserved_at", "reserved_at"),
    "kernel_reservations": ("INSERT DELETE", "", ""),
    "operations": ("INSERT", "", "result"),
    "scheduler_leases": ("INSERT", "", "holder epoch acquired_at expires_at"),
}

_GRANTED = """
SELECT c.relname::text AS name, '' AS column_name, a.privilege_type AS privilege
FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = $1::regrole
UNION ALL
SELECT c.relname::text, t.attname::text, a.privilege_type
FROM pg_class c JOIN pg_attribute t ON t.attrelid = c.oid, aclexplode(t.attacl) a
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = $1::regrole
"""
_GRANTED_TO_PUBLIC = """
SELECT c.relname::text FROM pg_class c, aclexplode(c.relacl) a
WHERE c.relnamespace = 'public'::regnamespace AND a.grantee = 0
UNION ALL
SELECT p.proname::text FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
WHERE p.pronamespace = 'public'::regnamespace AND a.grantee = 0
"""

Grant = tuple[str, str, str]


async def _granted(database: Database, role: str) -> set[Grant]:
    async with database.driver_as(OWNER) as driver:
        rows = await driver.fetch(_GRANTED.replace("$1", f"'{role}'"))
    return {(row["name"], row["column_name"], row["privilege"]) for row in rows}


def _selects() -> set[Grant]:
    return {(table, "", "SELECT") for table in _TABLES}


class TestGrants:
    async def test_reader_may_select_and_nothing_else(self, migrated_database: Database) -> None:
        assert await _granted(migrated_database, READER) == _selects()

    async def test_scheduler_may_what_is_listed_and_nothing_else(self, migrated_database: Database) -> None:
        expected = _selects()
        for table, (whole, inserted, updated) in _WRITES.items():
            expected |= {(table, "", privilege) for privilege in whole.split()}
            expected |= {(table, column, "INSERT") for column in inserted.split()}
            expected |= {(table, column, "UPDATE") for column in updated.split()}

        assert await _granted(migrated_database, SCHEDULER) == expected

    async def test_public_may_nothing(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(OWNER) as driver:
            assert await driver.fetch(_GRANTED_TO_PUBLIC) == []

    async def test_upgrade_takes_away_what_was_granted_by_hand(self, migrated_database: Database) -> None:
        await migrated_database.run_as(
            OWNER,
            f"GRANT ALL ON sessions TO {READER}; GRANT UPDATE (id) ON kernels TO {SCHEDULER};"
            f"GRANT USAGE ON SEQUENCE agent_history_id_seq TO {SCHEDULER}; GRANT SELECT ON quotas TO PUBLIC;"
            f"GRANT UPDATE ON SEQUENCE reservations_position_seq TO {READER}, PUBLIC;"
            f"GRANT DELETE ON scheduler_leases TO {SCHEDULER}; GRANT UPDATE (result) ON operations TO {READER}",
        )

        async with migrated_database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)

        await self.test_reader_may_select_and_nothing_else(migrated_database)
        await self.test_scheduler_may_what_is_listed_and_nothing_else(migrated_database)
        await self.test_public_may_nothing(migrated_database)
