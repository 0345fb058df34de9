"""History costs a tick nothing and an audit nothing: no statement of theirs reads what has finished."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import sqlalchemy as sa

from scheduler_repo.database import lookups
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.audit.db_source import CHECKS, LEDGER_DRIFT
from scheduler_repo.repositories.scheduler import db_source as reading
from scheduler_repo.repositories.scheduler.changes import CHANGED_OWNERS
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.types import OwnerScope
from scheduler_repo.workload.synthetic import DEFAULT_SCALING_GROUP
from tests.plans.sizes import FINISHED, PENDING, RUNNING
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.plans import LARGE_TABLES, nodes, sequential_scans
from tests.support.shared_databases import SharedDatabase

MANY_OWNERS = """
SELECT set_config('scheduler_repo.keeps_changes', 'on', false);
INSERT INTO owner_usage SELECT 'USER', n, 1, '{1}' FROM generate_series(1, 5000) AS n;
ANALYZE owner_usage
"""


def literal(value: object) -> str:
    """A parameter in SQL, without its type."""
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ", ".join(f'"{item}"' for item in value) + "}'"
    return f"'{value}'"


class TestTicks:
    @pytest.fixture
    async def parameters(
        self, engine_with_history: ExtendedAsyncSAEngine
    ) -> Mapping[Statement, tuple[object, ...]]:
        """What a tick gives each statement."""
        source = SchedulerDBSource(engine_with_history)
        data = (await source.get_scheduling_data(DEFAULT_SCALING_GROUP, 100)).data
        window = [session.session_id for session in data.pending_sessions]
        group = DEFAULT_SCALING_GROUP
        owners = tuple(
            [usage.owner_id for usage in usages]
            for usages in (data.access_keys, data.users, data.projects, data.domains)
        )
        return {
            lookups.SNAPSHOT: (),
            lookups.SCALING_GROUP: (group,),
            lookups.SLOT_TYPES: (),
            reading.PENDING_SESSIONS: (group, 100),
            lookups.PENDING_KERNELS: (group, window),
            lookups.PENDING_DEPENDENCIES: (group, window),
            reading.SCHEDULABLE_AGENTS: (group,),
            reading.SCHEDULABLE_AGENT_SLOTS: (group,),
            lookups.RESERVATIONS: (group,),
            reading.PREEMPTION_CANDIDATES: (group,),
            lookups.OWNERS: owners,
        }

    async def plan(
        self, driver: DriverConnection, statement: Statement, values: tuple[object, ...], options: str = ""
    ) -> Mapping[str, Any]:
        """The plan of a statement with these parameters."""
        await driver.execute(f"PREPARE planned AS {statement.text}")
        given = f" ({', '.join(literal(value) for value in values)})" if values else ""
        (answer,) = await driver.fetchval(f"EXPLAIN (FORMAT JSON{options}) EXECUTE planned{given}")
        await driver.execute("DEALLOCATE planned")
        plan: Mapping[str, Any] = answer["Plan"]
        return plan

    async def scans(
        self, driver: DriverConnection, statement: Statement, values: tuple[object, ...]
    ) -> set[str]:
        """What the statement reads from end to end, with these parameters."""
        return sequential_scans(await self.plan(driver, statement, values))

    async def test_no_sequential_scan_of_what_grows_with_history(
        self,
        engine_with_history: ExtendedAsyncSAEngine,
        parameters: Mapping[Statement, tuple[object, ...]],
    ) -> None:
        # given
        assert tuple(parameters) == reading.TICK_STATEMENTS
        unlimited = dict.fromkeys(
            (reading.PENDING_SESSIONS, lookups.PENDING_KERNELS, lookups.PENDING_DEPENDENCIES),
            (DEFAULT_SCALING_GROUP, None),
        )
        async with engine_with_history.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
            for mode in ("force_custom_plan", "force_generic_plan"):
                await driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
                for statement, values in (*parameters.items(), *unlimited.items()):
                    # when
                    scans = await self.scans(driver, statement, values)
                    # then
                    assert not scans & LARGE_TABLES, f"{statement.name}, {mode}"

    async def test_candidates_are_found_by_the_indexes_of_what_runs_and_waits(
        self, engine_with_history: ExtendedAsyncSAEngine
    ) -> None:
        async with engine_with_history.begin_readonly_session() as db_sess:
            driver = driver_connection(db_sess)
            for mode in ("force_custom_plan", "force_generic_plan"):
                await driver.execute(f"SET LOCAL plan_cache_mode = {mode}")
                # when
                plan = await self.plan(
                    driver, reading.PREEMPTION_CANDIDATES, (DEFAULT_SCALING_GROUP,), ", ANALYZE"
                )
                # then
                assert plan["Actual Rows"] > RUNNING // 10
                indexes = {node.get("Index Name") for node in nodes(plan)}
                assert {"sessions_running_idx", "sessions_pending_idx"} <= indexes, mode

    async def test_no_running_session_is_looked_at_where_preemption_is_off(
        self, long_history: SharedDatabase
    ) -> None:
        async with long_history.database.connect_as(OWNER) as connection:
            # given a change that goes with the connection
            await connection.execute(sa.text("UPDATE scaling_groups SET preemption_scope = NULL"))
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, asyncpg.Connection)
            # when
            plan = await self.plan(driver, reading.PREEMPTION_CANDIDATES, (DEFAULT_SCALING_GROUP,), ", ANALYZE")
        # then
        executed = {node.get("Relation Name") for node in nodes(plan) if node["Actual Loops"]} - {None}
        assert executed == {"scaling_groups"}

    async def test_few_of_many_owners_are_looked_up(self, migrated_database: Database) -> None:
        """A batch of one names four."""
        async with migrated_database.connect_as(OWNER) as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert isinstance(driver, asyncpg.Connection)
            await driver.execute(MANY_OWNERS)
            ids = ["key", str(uuid4()), str(uuid4()), "lab"]
            for statement, values in (
                (lookups.OWNERS, tuple([owner_id] for owner_id in ids)),
                (CHANGED_OWNERS, ([*OwnerScope], ids)),
            ):
                # when
                plan = await self.plan(driver, statement, values)
                # then
                assert "owner_usage" not in sequential_scans(plan), statement.name

    async def test_a_plan_that_scans_is_seen(self, engine_with_history: ExtendedAsyncSAEngine) -> None:
        # given
        statement = Statement("scan", "SELECT count(*) FROM sessions JOIN kernels ON name = image")
        async with engine_with_history.begin_readonly_session() as db_sess:
            # when
            scans = await self.scans(driver_connection(db_sess), statement, ())
        # then
        assert scans == {"sessions", "kernels"}


# A session may be looked at a few times by one check; each has a kernel or some.
MOST_READ = 10 * (PENDING + RUNNING)


def rows_read(plan: Mapping[str, Any]) -> Counter[str]:
    """How many rows of each table were looked at, those that a filter took out too."""
    read: Counter[str] = Counter()
    for node in nodes(plan):
        if "Relation Name" in node:
            looked_at = sum(
                node.get(count, 0)
                for count in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck")
            )
            read[node["Relation Name"]] += round(looked_at * node["Actual Loops"])
    return read


class TestAudits:
    async def read(self, engine: ExtendedAsyncSAEngine, statement: Statement, *values: object) -> Counter[str]:
        """What the statement reads, run with these parameters."""
        async with engine.begin_readonly_session() as db_sess:
            (answer,) = await driver_connection(db_sess).fetchval(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.text}", *values
            )
        return rows_read(answer["Plan"])

    async def test_no_check_reads_what_has_finished(self, engine_with_history: ExtendedAsyncSAEngine) -> None:
        for statement in CHECKS.values():
            read = await self.read(engine_with_history, statement)
            assert all(read[table] <= MOST_READ for table in LARGE_TABLES), (statement.name, read)

    async def test_the_repair_does_not_either(
        self, engine_with_history: ExtendedAsyncSAEngine, long_history: SharedDatabase
    ) -> None:
        connection = await long_history.owner_connection()
        agent_ids = [row["id"] for row in await connection.fetch("SELECT id FROM agents LIMIT 3")]
        for agents in (None, agent_ids):
            read = await self.read(engine_with_history, LEDGER_DRIFT, agents)
            assert 0 < read["kernels"] <= MOST_READ

    async def test_a_statement_that_does_is_seen(self, engine_with_history: ExtendedAsyncSAEngine) -> None:
        statement = Statement("all", "SELECT count(exit_code) FROM kernels")
        read = await self.read(engine_with_history, statement)
        assert read["kernels"] > FINISHED
