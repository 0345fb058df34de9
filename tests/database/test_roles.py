"""What each role can and cannot do, tried."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from scheduler_repo.database.schema.version import VERSION_TABLE
from scheduler_repo.models import Base
from tests.support.databases import OWNER, READER, Database, DriverConnection
from tests.support.rows import KEPT_BY_DATABASE, KERNEL, ROWS, insert, second_row

_TABLES = sorted({*Base.metadata.tables, VERSION_TABLE})
_DDL = (
    "CREATE TABLE mine (id integer)",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "DROP TABLE sessions CASCADE",
    "ALTER TABLE sessions ADD COLUMN mine text",
    "ALTER TABLE agent_slots DROP CONSTRAINT agent_slots_occupied_check",
    "ALTER TABLE session_dependencies DISABLE TRIGGER ALL",
    "CREATE INDEX mine ON sessions (name)",
    "DROP INDEX sessions_pending_idx",
    "CREATE TRIGGER mine AFTER INSERT ON users EXECUTE FUNCTION session_dependencies_mark_sessions()",
    "ALTER TABLE sessions OWNER TO CURRENT_USER",
    f"SET ROLE {OWNER}",
    "COPY sessions TO PROGRAM 'true'",
)

_REFUSED_TO_SCHEDULER = (
    # ids, owners and requests are written once
    "UPDATE sessions SET id = id",
    "UPDATE sessions SET access_key = access_key",
    "UPDATE sessions SET scaling_group = scaling_group",
    "UPDATE sessions SET created_at = now()",
    "UPDATE kernels SET id = id",
    "UPDATE kernels SET session_id = session_id",
    "UPDATE kernels SET requested_slots = '{}'",
    "UPDATE kernels SET user_id = user_id",
    "UPDATE agents SET id = id",
    "UPDATE agent_slots SET slot_name = slot_name",
    "UPDATE agent_heartbeats SET agent_id = agent_id",
    "UPDATE slot_types SET slot_index = slot_index",
    "UPDATE slot_types SET units_per_whole = 1",
    "UPDATE quotas SET owner_id = owner_id",
    "UPDATE session_dependencies SET depends_on = depends_on",
    "UPDATE sessions SET designated_agent_ids = '{}'",
    "UPDATE reservations SET position = DEFAULT",
    "UPDATE kernel_reservations SET agent_id = agent_id",
    "UPDATE scaling_groups SET name = name",
    "UPDATE scaling_group_grants SET scaling_group = scaling_group",
    "UPDATE operations SET request_digest = ''",
    "UPDATE operations SET created_at = now()",
    "UPDATE scheduler_leases SET scaling_group = scaling_group",
    # history is only added to
    "UPDATE session_history SET reason = 'other'",
    "UPDATE agent_history SET changed_at = now()",
    "DELETE FROM session_history",
    "DELETE FROM agent_history",
    "INSERT INTO agent_history (agent_id, to_status, changed_at) VALUES ('a1', 'LOST', now())",
    "INSERT INTO session_history (session_id, to_status, changed_at) SELECT id, 'ERROR', now() FROM sessions",
    "INSERT INTO agent_history (id, agent_id, to_status) OVERRIDING SYSTEM VALUE VALUES (7, 'a1', 'LOST')",
    "SELECT nextval('session_history_id_seq')",
    "SELECT setval('session_history_id_seq', 1)",
    "SELECT setval('reservations_position_seq', 1)",
    # what stays for good, or goes with what it belongs to
    "DELETE FROM agents",
    "DELETE FROM agent_slots",
    "DELETE FROM agent_heartbeats",
    "DELETE FROM kernels",
    # purged by functions of the owner's
    "DELETE FROM operations",
    "DELETE FROM quotas",
    "DELETE FROM scaling_groups",
    # an epoch must not start again
    "DELETE FROM scheduler_leases",
    "DELETE FROM slot_types",
    "DELETE FROM session_dependencies",
    "DELETE FROM users",
    "LOCK TABLE quotas IN SHARE ROW EXCLUSIVE MODE",
)

_LOCKS = (
    "sessions",
    "quotas",
    "agents",
    "agent_slots",
    "kernels",
    "scaling_groups",
    "resource_policies",
    "operations",
    "scheduler_leases",
)


class TestReader:
    @pytest.fixture
    async def reader(self, small_cluster: Database) -> AsyncIterator[DriverConnection]:
        async with small_cluster.driver_as(READER) as driver:
            yield driver

    async def test_reads_every_table(self, reader: DriverConnection) -> None:
        for table in _TABLES:
            rows = await reader.fetchval(f"SELECT count(*) FROM {table}")
            assert rows >= 1 or table in KEPT_BY_DATABASE

    @pytest.mark.parametrize("table", _TABLES)
    async def test_writes_none(self, reader: DriverConnection, table: str) -> None:
        column = await reader.fetchval(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attnum = 1", table
        )
        for statement in (
            f"INSERT INTO {table} DEFAULT VALUES",
            f"UPDATE {table} SET {column} = DEFAULT",
            f"DELETE FROM {table}",
            f"TRUNCATE {table}",
            f"SELECT FROM {table} FOR KEY SHARE",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await reader.execute(statement)

    @pytest.mark.parametrize("statement", _DDL)
    async def test_changes_no_schema(self, reader: DriverConnection, statement: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.execute(statement)


class TestScheduler:
    @pytest.mark.parametrize("table", _LOCKS)
    async def test_locks_rows(self, scheduler: DriverConnection, table: str) -> None:
        for strength in ("UPDATE", "NO KEY UPDATE", "SHARE", "KEY SHARE"):
            assert await scheduler.fetch(f"SELECT * FROM {table} FOR {strength}")

    async def test_leads_a_session_through_its_life(self, scheduler: DriverConnection) -> None:
        # allocated
        await scheduler.execute("UPDATE sessions SET status = 'SCHEDULED', status_changed_at = now()")
        await scheduler.execute(
            "UPDATE kernels SET status = 'SCHEDULED', agent_id = 'a1', occupied_slots = requested_slots,"
            " status_changed_at = now() WHERE id = $1",
            KERNEL,
        )
        await scheduler.execute("UPDATE agent_slots SET occupied = occupied + 1000")
        await scheduler.execute("UPDATE agents SET container_count = container_count + 1")
        # ended
        await scheduler.execute("UPDATE agent_slots SET occupied = occupied - 1000")
        await scheduler.execute("UPDATE kernels SET status = 'TERMINATED', exit_code = 0")
        await scheduler.execute("UPDATE sessions SET status = 'TERMINATED', result = 'SUCCESS'")
        await insert(scheduler, "session_history", second_row("session_history", {"kernel_id": KERNEL}))

    async def test_registers_and_hears_agents_again_and_again(self, scheduler: DriverConnection) -> None:
        await scheduler.execute(
            "INSERT INTO agents (id, scaling_group, address, architecture)"
            " VALUES ('a1', 'gpu', 'new', 'aarch64') ON CONFLICT (id)"
            " DO UPDATE SET address = EXCLUDED.address, architecture = EXCLUDED.architecture"
        )
        await scheduler.execute(
            "INSERT INTO agent_slots (agent_id, slot_name, capacity) VALUES ('a1', 'cpu', 5000)"
            " ON CONFLICT (agent_id, slot_name) DO UPDATE SET capacity = EXCLUDED.capacity"
        )
        await scheduler.execute(
            "INSERT INTO agent_heartbeats VALUES ('a1', now())"
            " ON CONFLICT (agent_id) DO UPDATE SET heartbeat_at = EXCLUDED.heartbeat_at"
        )

        assert await scheduler.fetchval("SELECT capacity FROM agent_slots") == 5000

    async def test_loads_in_bulk(self, scheduler: DriverConnection) -> None:
        row = second_row("kernels", {})
        await scheduler.copy_records_to_table("kernels", columns=list(row), records=[tuple(row.values())])
        history = ROWS["session_history"]
        await scheduler.copy_records_to_table(
            "session_history", columns=list(history), records=[tuple(history.values())] * 3
        )

        assert await scheduler.fetchval("SELECT count(*) FROM session_history") == 4

    async def test_takes_a_lease_over_again_and_again(self, scheduler: DriverConnection) -> None:
        for epoch in (2, 3):
            taken = await scheduler.fetchval(
                "INSERT INTO scheduler_leases VALUES ('gpu', 'scheduler-2', 1, now(), now())"
                " ON CONFLICT (scaling_group) DO UPDATE SET holder = EXCLUDED.holder,"
                " epoch = scheduler_leases.epoch + 1, acquired_at = EXCLUDED.acquired_at,"
                " expires_at = EXCLUDED.expires_at RETURNING epoch"
            )
            assert taken == epoch

    async def test_answers_an_operation(self, scheduler: DriverConnection) -> None:
        row = {key: value for key, value in second_row("operations", {}).items() if key != "result"}
        await insert(scheduler, "operations", row)
        await scheduler.execute("UPDATE operations SET result = $2 WHERE id = $1", row["id"], b"answer")

    async def test_says_who_may_be_preempted_and_where_a_lost_agent_returns(
        self, scheduler: DriverConnection
    ) -> None:
        await scheduler.execute(
            "UPDATE scaling_groups SET preemption_scope = 'GROUP', preemption_min_runtime = interval '1 hour'"
        )
        await scheduler.execute("UPDATE agents SET status = 'LOST', returns_as = 'DRAINING'")

    async def test_opens_and_closes_a_group(self, scheduler: DriverConnection) -> None:
        await scheduler.execute("UPDATE scaling_groups SET is_public = false")
        await insert(scheduler, "scaling_group_grants", second_row("scaling_group_grants", {}))

        assert await scheduler.execute("DELETE FROM scaling_group_grants") == "DELETE 2"

    @pytest.mark.parametrize("statement", _REFUSED_TO_SCHEDULER)
    async def test_is_refused_what_nobody_needs(self, scheduler: DriverConnection, statement: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scheduler.execute(statement)

    @pytest.mark.parametrize("table", _TABLES)
    async def test_truncates_none(self, scheduler: DriverConnection, table: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scheduler.execute(f"TRUNCATE {table}")

    @pytest.mark.parametrize("statement", _DDL)
    async def test_changes_no_schema(self, scheduler: DriverConnection, statement: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scheduler.execute(statement)

    @pytest.mark.parametrize(
        "statement",
        [
            f"UPDATE {VERSION_TABLE} SET version_num = '0000'",
            f"INSERT INTO {VERSION_TABLE} VALUES ('9999')",
            f"DELETE FROM {VERSION_TABLE}",
            f"SELECT * FROM {VERSION_TABLE} FOR SHARE",
            f"DROP TABLE {VERSION_TABLE}",
        ],
    )
    async def test_leaves_the_version_table_alone(self, scheduler: DriverConnection, statement: str) -> None:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await scheduler.execute(statement)
