"""Searches read by an index, whatever their page, and grants of others are not read at all."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final, Optional
from uuid import UUID

import pytest

from scheduler_repo.database.engine import PLANNER_SETTINGS
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.agent import db_source as agent_source
from scheduler_repo.repositories.scaling_group import db_source as group_source
from tests.support.databases import OWNER, Database, DatabaseServer, DriverConnection
from tests.support.plans import nodes

AGENTS: Final = 6_000
OWNERS: Final = 6_000

# One agent in twenty is in the first group, spread over all ids; one grant in a thousand is of the third.
FLEET: Final = f"""
INSERT INTO scaling_groups (name, is_public)
SELECT 'group-' || n, false FROM generate_series(1, 3) AS n;
INSERT INTO slot_types (name, slot_index)
SELECT 'slot-' || n, n FROM generate_series(0, 3) AS n;
INSERT INTO agents (id, scaling_group, address, architecture)
SELECT 'agent-' || to_char(n, 'FM000000'), 'group-' || CASE WHEN n % 20 = 0 THEN 1 ELSE 2 END, '', ''
FROM generate_series(1, {AGENTS}) AS n;
INSERT INTO agent_slots (agent_id, slot_name, capacity)
SELECT a.id, t.name, 9 FROM agents AS a, slot_types AS t;
INSERT INTO agent_heartbeats SELECT id, now() FROM agents;
INSERT INTO scaling_group_grants (scope, owner_id, scaling_group)
SELECT 'ACCESS_KEY', 'key-' || n, 'group-' || CASE WHEN n % 1000 = 7 THEN 3 ELSE 2 END
FROM generate_series(1, {OWNERS}) AS n;
INSERT INTO domains VALUES ('lab');
INSERT INTO users SELECT md5(n::text)::uuid, n, 'lab' FROM generate_series(1, {OWNERS}) AS n;
INSERT INTO keypairs SELECT 'key-' || n, md5(n::text)::uuid FROM generate_series(1, {OWNERS}) AS n;
ANALYZE;
"""


class TestPlans:
    @pytest.fixture(scope="class")
    @classmethod
    def large_fleet(cls, postgres_server: DatabaseServer, migrated_template: Database) -> Iterator[Database]:
        """A database that all tests here only read."""

        async def make() -> Database:
            database = await postgres_server.create_database(migrated_template)
            await database.run_as(OWNER, FLEET)
            return database

        database = asyncio.run(make())
        yield database
        asyncio.run(postgres_server.drop_database(database))

    @pytest.fixture
    async def driver(self, large_fleet: Database) -> AsyncIterator[DriverConnection]:
        """A connection with the planner's settings of the engine."""
        async with large_fleet.driver_as(OWNER) as driver:
            for name, value in PLANNER_SETTINGS.items():
                await driver.execute(f"SET {name} = '{value}'")
            yield driver

    async def plan(
        self, driver: DriverConnection, statement: Statement, *parameters: Optional[str]
    ) -> Mapping[str, Any]:
        """The plan of a statement, run with parameters that are given in SQL."""
        await driver.execute(f"PREPARE planned AS {statement.text}")
        given = ", ".join("NULL" if value is None else value for value in parameters)
        answer = await driver.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE planned ({given})")
        await driver.execute("DEALLOCATE planned")
        plan: Mapping[str, Any] = json.loads(answer)[0]["Plan"]
        return plan

    async def test_last_page_of_agents_costs_what_the_first_costs(self, driver: DriverConnection) -> None:
        for group, index in ((None, "agents_pkey"), ("'group-1'", "agents_scaling_group_idx")):
            pages = []
            for after in (None, f"'agent-{AGENTS // 2:06}'"):
                # when
                wanted = (group, None, None, None, None, after, "101")
                page = await self.plan(driver, agent_source.SEARCH_AGENTS, *wanted)
                # then
                assert page["Actual Rows"] == 101
                assert index in {node.get("Index Name") for node in nodes(page)}
                assert not {"Sort", "Seq Scan"} & {node["Node Type"] for node in nodes(page)}
                pages.append(page["Shared Hit Blocks"] + page["Shared Read Blocks"])
            first, last = pages
            assert last < 2 * first

    async def test_ids_that_begin_alike_are_read_and_no_others(self, driver: DriverConnection) -> None:
        # when
        wanted = (None, None, None, None, "'agent-0050'", None, "101")
        plan = await self.plan(driver, agent_source.SEARCH_AGENTS, *wanted)
        # then
        assert plan["Actual Rows"] == 100
        (scan,) = [node for node in nodes(plan) if node.get("Relation Name") == "agents"]
        assert scan.get("Rows Removed by Filter", 0) == 0

    async def test_ledgers_of_a_page_are_read_by_their_index(self, driver: DriverConnection) -> None:
        # given
        page = ",".join(f"agent-{number:06}" for number in range(1, 101))
        # when
        plan = await self.plan(driver, agent_source.AGENT_SLOTS, f"'{{{page}}}'")
        # then
        assert plan["Actual Rows"] == 400
        assert "agent_slots_pkey" in {node.get("Index Name") for node in nodes(plan)}

    @pytest.mark.parametrize(("owner", "usable"), [("key-7", 1), ("nobody", 0)])
    async def test_grants_of_others_are_not_read(
        self, driver: DriverConnection, owner: str, usable: int
    ) -> None:
        # given
        owners = (f"'{owner}'", f"'{UUID(int=1)}'", None, "'lab'")
        # when
        plan = await self.plan(driver, group_source.USABLE_SCALING_GROUPS, *owners)
        # then
        assert plan["Actual Rows"] == usable
        scans = [node for node in nodes(plan) if node.get("Relation Name") == "scaling_group_grants"]
        assert {node["Node Type"] for node in scans} <= {"Index Only Scan", "Index Scan"}
        assert sum(node["Actual Rows"] for node in scans) == usable

    async def test_owner_is_found_by_its_key(self, driver: DriverConnection) -> None:
        # when
        plan = await self.plan(driver, group_source.GROUP_USER, "'key-7'", None)
        # then
        scanned = {node.get("Relation Name") for node in nodes(plan) if node["Node Type"] == "Seq Scan"}
        assert plan["Actual Rows"] == 1
        assert not scanned & {"keypairs", "users"}

    async def test_grants_of_a_group_are_found_by_their_index(self, driver: DriverConnection) -> None:
        # when
        plan = await self.plan(driver, group_source.SCALING_GROUP_GRANTS, "'group-3'")
        # then
        assert plan["Actual Rows"] == OWNERS // 1_000
        assert "scaling_group_grants_scaling_group_idx" in {node.get("Index Name") for node in nodes(plan)}
