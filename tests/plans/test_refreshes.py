"""A refresh is planned once for a connection: that plan must be right for all that comes, at any time."""

import re
from typing import Final

import msgspec
import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine, driver_connection
from scheduler_repo.database.statements import Statement
from scheduler_repo.repositories.scheduler.changes import REFRESH_STATEMENTS
from tests.support.databases import DriverConnection

# They do not grow with what waits, runs or has finished.
SMALL: Final = {"change_floor", "pg_database", "owner_usage"}
_FIRST_COLUMNS: Final = """
SELECT c.relname, a.attname
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
"""


class Node(msgspec.Struct, rename=lambda field: field.replace("_", " ").title()):
    """A node of a plan."""

    node_type: str
    relation_name: str = ""
    index_name: str = ""
    index_cond: str = ""
    plans: list["Node"] = []


class Explained(msgspec.Struct, rename={"plan": "Plan"}):
    plan: Node


def walk(node: Node) -> list[Node]:
    return [node, *(below for each in node.plans for below in walk(each))]


async def plan_of(engine: ExtendedAsyncSAEngine, statement: Statement) -> list[Node]:
    """The nodes of the plan that a refresh uses."""
    parameters = ", ".join(["NULL"] * len(set(re.findall(r"\$[0-9]+", statement.text))))
    async with engine.begin_readonly_session(reuses_plans=True) as db_sess:
        connection = driver_connection(db_sess)
        await connection.execute(f"PREPARE refresh AS {statement.text}")
        answer = await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE refresh ({parameters})")
        await connection.execute("DEALLOCATE refresh")
    (explained,) = msgspec.convert(answer, list[Explained])
    return walk(explained.plan)


@pytest.mark.parametrize("statement", REFRESH_STATEMENTS, ids=lambda each: each.name)
async def test_of_an_empty_database_looks_rows_up_by_the_first_column_of_an_index(
    engine: ExtendedAsyncSAEngine, owner_connection: DriverConnection, statement: Statement
) -> None:
    # given
    first_columns = dict(await owner_connection.fetch(_FIRST_COLUMNS))
    # when
    nodes = await plan_of(engine, statement)
    # then
    assert {node.relation_name for node in nodes if node.node_type == "Seq Scan"} <= SMALL
    for node in nodes:
        if node.index_name and node.relation_name not in SMALL:
            assert re.search(rf"\b{first_columns[node.index_name]}\b", node.index_cond), node
