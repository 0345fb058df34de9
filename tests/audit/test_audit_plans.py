"""History costs an audit nothing: what has finished is not read, by an index or otherwise."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.audit.db_source import CHECKS, LEDGER_DRIFT
from scheduler_repo.workload.synthetic import synthetic_cluster
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.past_and_present import finish_sessions, run_sessions

FINISHED = 20_000
PENDING = 300
RUNNING = 300
# A session may be looked at a few times by one check; each has a kernel or some.
MOST_READ = 10 * (PENDING + RUNNING)
LARGE_TABLES = ("sessions", "kernels", "session_dependencies", "session_history")


def nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


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


class TestPlans:
    @pytest.fixture
    async def engine_with_history(
        self, load: Load, engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> ExtendedAsyncSAEngine:
        await load(synthetic_cluster(40, PENDING + RUNNING, seed=5))
        await run_sessions(owner_connection, RUNNING)
        await finish_sessions(owner_connection, FINISHED)
        await owner_connection.execute("ANALYZE")
        return engine

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
        self, engine_with_history: ExtendedAsyncSAEngine, owner_connection: DriverConnection
    ) -> None:
        agent_ids = [row["id"] for row in await owner_connection.fetch("SELECT id FROM agents LIMIT 3")]
        for agents in (None, agent_ids):
            read = await self.read(engine_with_history, LEDGER_DRIFT, agents)
            assert 0 < read["kernels"] <= MOST_READ

    async def test_a_statement_that_does_is_seen(self, engine_with_history: ExtendedAsyncSAEngine) -> None:
        statement = Statement("all", "SELECT count(exit_code) FROM kernels")
        read = await self.read(engine_with_history, statement)
        assert read["kernels"] > FINISHED
