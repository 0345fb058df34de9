"""The database itself refuses what must never be, by a constraint whose name says what it was."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.rows import KERNEL, OTHER_SESSION, ROWS, SESSION, USER, Row, insert, insert_all, second_row

_HUGE = 2**62
_TIME = datetime(2026, 1, 1, tzinfo=UTC)

# constraint -> what, changed in a row that is otherwise accepted, breaks it
_BREACHES: Mapping[str, tuple[Row, ...]] = {
    "slot_types.slot_index": ({"slot_index": -1}, {"slot_index": 64}),
    "slot_types.units_per_whole": ({"units_per_whole": 0}, {"units_per_whole": -1000}),
    "resource_policies.slot_limits": ({"slot_limits": [None, -1]}, {"slot_limits": [[1, 2]]}),
    "resource_policies.max_concurrent_sessions": ({"max_concurrent_sessions": -1},),
    "resource_policies.max_kernels_per_session": ({"max_kernels_per_session": -1},),
    "quotas.scope": ({"scope": "GROUP"}, {"scope": "user"}),
    "quotas.owner_id": (
        {"owner_id": "ada"},
        {"owner_id": str(USER).replace("0", "A")},
        {"scope": "PROJECT", "owner_id": ""},
    ),
    "quotas.slot_limits": ({"slot_limits": [-1]}, {"slot_limits": [[None], [1]]}),
    "quotas.max_concurrent_sessions": ({"max_concurrent_sessions": -1},),
    "vfolders.owner": ({"user_id": None}, {"project_id": ROWS["projects"]["id"]}),
    "agents.status": ({"status": "BOGUS"}, {"status": "alive"}),
    "agents.container_count": (
        {"container_count": -1},
        {"container_count": 2, "max_containers": 1},
        {"max_containers": -1},
    ),
    "agents.returns_as": ({"returns_as": "LOST"}, {"returns_as": "alive"}),
    "scaling_groups.preemption_scope": ({"preemption_scope": "ACCESS_KEY"}, {"preemption_scope": "user"}),
    "scaling_groups.preemption_min_runtime": ({"preemption_min_runtime": timedelta(microseconds=-1)},),
    "scaling_group_grants.scope": ({"scope": "GROUP"}, {"scope": "user"}),
    "scaling_group_grants.owner_id": (
        {"owner_id": "ada"},
        {"owner_id": str(USER).replace("0", "A")},
        {"scope": "PROJECT", "owner_id": ""},
    ),
    "agent_slots.capacity": ({"capacity": -1, "occupied": -2},),
    "agent_slots.occupied": ({"occupied": 4001}, {"occupied": -1}, {"occupied": _HUGE}),
    "agent_slots.reported_capacity": ({"reported_capacity": -1},),
    "agent_history.from_status": ({"from_status": "BOGUS"},),
    "agent_history.to_status": ({"to_status": "RUNNING"},),
    "sessions.session_type": ({"session_type": "BOGUS"},),
    "sessions.cluster_mode": ({"cluster_mode": "BOGUS"},),
    "sessions.status": ({"status": "BOGUS"}, {"status": "running"}),
    "sessions.result": (
        {"result": "SUCCESS"},
        {"result": "SUCCESS", "status": "TERMINATING"},
        {"result": "UNDEFINED", "status": "TERMINATED"},
    ),
    "sessions.times": (
        # The driver writes these two as the infinities.
        {"created_at": datetime.max.replace(tzinfo=UTC)},
        {"requested_start_at": datetime.min.replace(tzinfo=UTC)},
    ),
    "sessions.designated_agent_ids": (
        {"designated_agent_ids": ["a1", None]},
        {"designated_agent_ids": [""]},
        {"designated_agent_ids": [["a1"], ["a2"]]},
    ),
    "sessions.retry_count": ({"retry_count": -1},),
    "sessions.failed_agent_ids": (
        {"failed_agent_ids": ["a1", None]},
        {"failed_agent_ids": [""]},
        {"failed_agent_ids": [["a1"], ["a2"]]},
    ),
    "sessions.dispatched_at": (
        {"dispatched_at": _TIME},
        {"dispatched_at": _TIME, "status": "PENDING"},
    ),
    "kernels.kernel_index": ({"kernel_index": -1},),
    "kernels.status": ({"status": "BOGUS"},),
    "kernels.agent_id": (
        {"status": "SCHEDULED"},
        {"status": "PREPARING"},
        {"status": "RUNNING", "occupied_slots": [1000]},
        {"status": "TERMINATING"},
        {"status": "PENDING", "occupied_slots": [1000]},
        {"status": "TERMINATED", "occupied_slots": [1000]},
    ),
    "kernels.requested_slots": (
        {"requested_slots": [1000, -1]},
        {"requested_slots": [1000, None]},
        {"requested_slots": [None]},
        {"requested_slots": [[1000], [1]]},
    ),
    "kernels.occupied_slots": (
        {"occupied_slots": [-1], "agent_id": "a1"},
        {"occupied_slots": [1000, None], "agent_id": "a1"},
        {"occupied_slots": [[1000, 1]], "agent_id": "a1"},
    ),
    "session_dependencies.depends_on": ({"depends_on": SESSION},),
    "session_vfolder_mounts.permission": ({"permission": "BOGUS"},),
    "session_history.from_status": ({"from_status": "BOGUS"},),
    "session_history.to_status": ({"to_status": "ALIVE"},),
    "scheduler_leases.holder": ({"holder": ""},),
    "scheduler_leases.epoch": ({"epoch": 0}, {"epoch": -1}),
}  # fmt: skip
# Not a value of a row that the driver can send.
_BREACHED_BY_STATEMENT: Mapping[str, tuple[str, ...]] = {
    "scaling_groups.pending_timeout": (
        "UPDATE scaling_groups SET pending_timeout = interval '0'",
        "UPDATE scaling_groups SET pending_timeout = interval '-1 hour'",
    ),
    "kernels.occupied_slots": (
        "UPDATE kernels SET agent_id = 'a1', occupied_slots = '[0:1]={1,2}'",
        "UPDATE kernels SET agent_id = 'a1', occupied_slots = '[2:2]={1}'",
    ),
    "quotas.slot_limits": ("UPDATE quotas SET slot_limits = '[0:0]={1}'",),
    "resource_policies.slot_limits": ("UPDATE resource_policies SET slot_limits = '[2:2]={1}'",),
    "agent_slots.occupied": (
        "UPDATE agent_slots SET occupied = occupied + 4001",
        "UPDATE agent_slots SET occupied = occupied - 1",
        "UPDATE agent_slots SET occupied = 3000, capacity = 2000",
    ),
    "agents.container_count": ("UPDATE agents SET container_count = container_count - 1",),
    "kernels.agent_id": ("UPDATE kernels SET status = 'RUNNING'",),
    "sessions.dispatched_at": ("UPDATE sessions SET dispatched_at = now()",),
    "scheduler_leases.epoch": ("UPDATE scheduler_leases SET epoch = epoch - 1",),
    "sessions.result": ("UPDATE sessions SET result = 'SUCCESS'",),
    "kernels.status": ("UPDATE kernels SET status = 'UNHEARD_OF'",),
    "sessions.status": ("UPDATE sessions SET status = 'UNHEARD_OF'",),
    "agents.status": ("UPDATE agents SET status = 'UNHEARD_OF'",),
}


def _cases() -> list[tuple[str, Row]]:
    return [(constraint, changed) for constraint, rows in _BREACHES.items() for changed in rows]


def _statements() -> list[tuple[str, str]]:
    return [(name, statement) for name, all_of_it in _BREACHED_BY_STATEMENT.items() for statement in all_of_it]


class TestChecks:
    @pytest.mark.parametrize("table", sorted({name.partition(".")[0] for name in _BREACHES}))
    async def test_row_without_a_breach_is_accepted(self, scheduler: DriverConnection, table: str) -> None:
        await insert(scheduler, table, second_row(table, {}))

    @pytest.mark.parametrize(("constraint", "changed"), _cases())
    async def test_breach_is_refused_by_name(
        self, scheduler: DriverConnection, constraint: str, changed: Row
    ) -> None:
        table, _, name = constraint.partition(".")
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await insert(scheduler, table, second_row(table, changed))

        assert caught.value.constraint_name == f"{table}_{name}_check"

    @pytest.mark.parametrize(("constraint", "statement"), _statements())
    async def test_update_into_a_breach_is_refused_by_name(
        self, scheduler: DriverConnection, constraint: str, statement: str
    ) -> None:
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await scheduler.execute(statement)

        assert caught.value.constraint_name == f"{constraint.replace('.', '_')}_check"

    async def test_every_check_of_the_schema_is_tried_above(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(OWNER) as driver:
            rows = await driver.fetch(
                "SELECT conname FROM pg_constraint "
                "WHERE contype = 'c' AND connamespace = 'public'::regnamespace"
                r" AND conname NOT LIKE '%\_length\_check'"  # tests/database/test_lengths.py
            )

        tried = _BREACHES.keys() | _BREACHED_BY_STATEMENT.keys()
        assert {row["conname"] for row in rows} == {f"{name.replace('.', '_')}_check" for name in tried}


class TestLedger:
    async def test_agent_may_be_filled_to_the_brim(self, scheduler: DriverConnection) -> None:
        await scheduler.execute("UPDATE agent_slots SET occupied = capacity WHERE slot_name = 'cpu'")

    async def test_agent_that_shrank_keeps_what_it_runs(self, scheduler: DriverConnection) -> None:
        await scheduler.execute("UPDATE agent_slots SET occupied = 4000, reported_capacity = 1000")

        assert await scheduler.fetchval("SELECT occupied - reported_capacity FROM agent_slots") == 3000

    async def test_ended_kernel_keeps_what_it_had(self, scheduler: DriverConnection) -> None:
        await scheduler.execute(
            "UPDATE kernels SET status = 'TERMINATED', agent_id = 'a1', occupied_slots = '{1000}' "
            "WHERE id = $1",
            KERNEL,
        )


class TestDependencies:
    async def test_dependent_session_is_marked(self, scheduler: DriverConnection) -> None:
        await insert(scheduler, "sessions", second_row("sessions", {}))

        rows = await scheduler.fetch("SELECT id, has_dependencies FROM sessions")

        assert {row["id"]: row["has_dependencies"] for row in rows} == {
            SESSION: True,
            second_row("sessions", {})["id"]: False,
        }

    async def test_unknown_owner_is_refused_by_name(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await insert(scheduler, "sessions", second_row("sessions", {"access_key": "NOBODY"}))

        assert caught.value.constraint_name == "sessions_access_key_user_id_fkey"

    @pytest.mark.parametrize(
        ("table", "column", "constraint"),
        [
            ("users", "user_id", "sessions_access_key_user_id_fkey"),
            ("projects", "project_id", "sessions_project_id_domain_name_fkey"),
        ],
    )
    async def test_owners_that_do_not_belong_together_are_refused(
        self, scheduler: DriverConnection, table: str, column: str, constraint: str
    ) -> None:
        # given another user, and another project, of another domain
        await insert(scheduler, "domains", {"name": "elsewhere"})
        other = second_row(table, {"id": UUID(int=77), "domain_name": "elsewhere"})
        await insert(scheduler, table, other)
        # when a session names it beside the others' key and domain
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await insert(scheduler, "sessions", second_row("sessions", {column: other["id"]}))
        # then
        assert caught.value.constraint_name == constraint


class TestDispatch:
    async def test_session_that_goes_back_to_the_queue_is_to_be_told_again(
        self, scheduler: DriverConnection
    ) -> None:
        # given a session whose agents were told
        await scheduler.execute("UPDATE sessions SET status = 'SCHEDULED', dispatched_at = now()")

        # when it goes back, then it must forget that they were
        await scheduler.execute(
            "UPDATE sessions SET status = 'PENDING', dispatched_at = NULL, retry_count = retry_count + 1,"
            " failed_agent_ids = failed_agent_ids || 'a1'::text"
        )
        with pytest.raises(asyncpg.CheckViolationError) as caught:
            await scheduler.execute("UPDATE sessions SET dispatched_at = now()")
        assert caught.value.constraint_name == "sessions_dispatched_at_check"


class TestReservations:
    async def test_earlier_one_stands_before_a_later_one(self, scheduler: DriverConnection) -> None:
        await insert(scheduler, "sessions", second_row("sessions", {}))
        await insert(scheduler, "reservations", {"session_id": OTHER_SESSION, "scaling_group": "gpu"})

        rows = await scheduler.fetch("SELECT session_id FROM reservations ORDER BY position")

        assert [row["session_id"] for row in rows] == [SESSION, OTHER_SESSION]

    async def test_session_has_one_at_most(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await insert(scheduler, "reservations", ROWS["reservations"])

        assert caught.value.constraint_name == "reservations_pkey"

    async def test_kernel_is_held_on_one_agent_at_most(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await insert(scheduler, "kernel_reservations", ROWS["kernel_reservations"])

        assert caught.value.constraint_name == "kernel_reservations_pkey"

    @pytest.mark.parametrize("owner", ["reservations", "sessions"])
    async def test_what_it_holds_goes_with_it(
        self, migrated_database: Database, owner_connection: DriverConnection, owner: str
    ) -> None:
        await insert_all(migrated_database)

        await owner_connection.execute(f"DELETE FROM {owner}")

        for table in ("reservations", "kernel_reservations"):
            assert await owner_connection.fetchval(f"SELECT count(*) FROM {table}") == 0

    async def test_kernel_of_no_reservation_is_refused(self, scheduler: DriverConnection) -> None:
        await insert(scheduler, "sessions", second_row("sessions", {}))
        kernel = second_row("kernels", {"session_id": OTHER_SESSION})
        await insert(scheduler, "kernels", kernel)

        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await insert(
                scheduler,
                "kernel_reservations",
                {"kernel_id": kernel["id"], "session_id": OTHER_SESSION, "agent_id": "a1"},
            )

        assert caught.value.constraint_name == "kernel_reservations_session_id_fkey"


class TestGrants:
    async def test_owner_is_granted_a_group_once(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await insert(scheduler, "scaling_group_grants", ROWS["scaling_group_grants"])

        assert caught.value.constraint_name == "scaling_group_grants_pkey"

    async def test_group_that_does_not_exist_is_refused(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.ForeignKeyViolationError) as caught:
            await insert(
                scheduler,
                "scaling_group_grants",
                second_row("scaling_group_grants", {"scaling_group": "nowhere"}),
            )

        assert caught.value.constraint_name == "scaling_group_grants_scaling_group_fkey"


class TestOperations:
    async def test_id_is_used_once(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await insert(scheduler, "operations", ROWS["operations"])

        assert caught.value.constraint_name == "operations_pkey"


class TestLeases:
    async def test_group_has_one_holder(self, scheduler: DriverConnection) -> None:
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await insert(scheduler, "scheduler_leases", {**ROWS["scheduler_leases"], "holder": "scheduler-2"})

        assert caught.value.constraint_name == "scheduler_leases_pkey"
