"""History costs an audit nothing: what has finished is not read, by an index or otherwise."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.audit.db_source import CHECKS, LEDGER_DRIFT
from tests.support.long_history import FINISHED, PENDING, RUNNING
from tests.support.plans import LARGE_TABLES, nodes
from tests.support.shared_databases import SharedDatabase

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


@pytest.mark.xdist_group("long history")
class TestPlans:
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
