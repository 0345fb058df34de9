"""No column holds a text, an array or bytes without a bound; longer rows from before stay."""

from collections import defaultdict
from typing import Final

import asyncpg
import pytest

from scheduler_repo.database.schema.upgrade import check_schema, downgrade_schema, upgrade_schema
from scheduler_repo.database.schema.version import VERSION_TABLE
from tests.support.databases import OWNER, Database, DriverConnection
from tests.support.rows import KEPT_BY_DATABASE, KERNEL, SESSION, insert_all

# Types whose values have one size.
_SIZED: Final = frozenset({"bool", "int2", "int4", "int8", "uuid", "timestamptz", "interval", "xid8", "char"})
# Of each other type, values that no column may hold.
_TOO_LONG: Final = {
    "text": ["repeat('x', 131073)", "repeat('é', 65537)"],
    "bytea": ["convert_to(repeat('x', 67108865), 'UTF8')"],
    "_text": [
        "array_fill('x'::text, ARRAY[4097])",
        "ARRAY[repeat('x', 131073)]",
        "array_fill(repeat('x', 1000), ARRAY[132])",
    ],
    "_int8": ["array_fill(1::bigint, ARRAY[65])"],
}
_COLUMNS: Final = """
SELECT c.relname::text AS table_name, a.attname::text AS column_name, y.typname::text AS type_name,
       a.atttypmod AS bound
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
JOIN pg_type AS y ON y.oid = a.atttypid
WHERE a.attnum > 0 AND NOT a.attisdropped AND NOT c.relname = ANY ($1)
"""
_CHECKS: Final = """
SELECT conrelid::regclass::text AS table_name, pg_get_expr(conbin, conrelid) AS expression
FROM pg_constraint WHERE contype = 'c' AND connamespace = 'public'::regnamespace
"""


class TestEveryColumn:
    async def test_has_a_bound(self, owner_connection: DriverConnection) -> None:
        # given
        checks = defaultdict(list)
        for row in await owner_connection.fetch(_CHECKS):
            checks[row["table_name"]].append(row["expression"])
        columns: dict[str, dict[str, asyncpg.Record]] = defaultdict(dict)
        for row in await owner_connection.fetch(_COLUMNS, KEPT_BY_DATABASE):
            columns[row["table_name"]][row["column_name"]] = row
        assert len(columns) > 20
        # then
        unbounded = []
        tried = 0
        for table, of_table in columns.items():
            for column, row in of_table.items():
                if row["type_name"] in _SIZED or row["bound"] >= 0:
                    continue
                for value in _TOO_LONG[row["type_name"]]:
                    tried += 1
                    if not await _is_refused(owner_connection, table, column, value, checks[table]):
                        unbounded.append(f"{table}.{column} = {value}")
        assert tried > 80
        assert unbounded == []

    async def test_holds_what_is_as_long_as_it_may_be(self, owner_connection: DriverConnection) -> None:
        # given: an index holds every name of that length, however random
        await owner_connection.execute("CREATE TEMPORARY TABLE word AS SELECT ''::text AS word")
        await owner_connection.execute(
            "UPDATE word SET word = (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 32) AS n)"
        )
        await owner_connection.execute(
            """
            INSERT INTO domains (name) SELECT word FROM word;
            INSERT INTO projects (id, name, domain_name) SELECT gen_random_uuid(), word, word FROM word;
            INSERT INTO users (id, name, domain_name) SELECT gen_random_uuid(), word, word FROM word;
            INSERT INTO keypairs (access_key, user_id) SELECT word, id FROM word, users;
            INSERT INTO resource_policies (name) SELECT word FROM word;
            INSERT INTO quotas (scope, owner_id, resource_policy) SELECT 'ACCESS_KEY', word, word FROM word;
            INSERT INTO vfolders (id, name, host, user_id)
            SELECT gen_random_uuid(), word, word, id FROM word, users;
            INSERT INTO scaling_groups (name) SELECT word FROM word;
            INSERT INTO scaling_group_grants SELECT 'DOMAIN', word, word FROM word;
            INSERT INTO slot_types (name, slot_index, display_unit) SELECT word, 0, word FROM word;
            INSERT INTO agents (id, scaling_group, address, architecture)
            SELECT word, word, word, word FROM word;
            INSERT INTO agent_slots (agent_id, slot_name, capacity) SELECT word, word, 1 FROM word;
            INSERT INTO agent_heartbeats SELECT word, now() FROM word;
            INSERT INTO sessions (id, name, scaling_group, access_key, user_id, project_id, domain_name,
                                  session_type, cluster_mode, status)
            SELECT gen_random_uuid(), word, word, word, u.id, p.id, word, 'BATCH', 'SINGLE_NODE', 'RUNNING'
            FROM word, users AS u, projects AS p;
            INSERT INTO kernels (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id,
                                 domain_name, image, architecture, agent_id, requested_slots, status)
            SELECT gen_random_uuid(), s.id, 0, word, word, s.user_id, s.project_id, word, word, word, word,
                   '{1}', 'RUNNING'
            FROM word, sessions AS s;
            INSERT INTO session_vfolder_mounts SELECT s.id, v.id, word, 'READ_ONLY'
            FROM word, sessions AS s, vfolders AS v;
            INSERT INTO scheduler_leases SELECT word, word, 1, now(), now() FROM word;
            INSERT INTO reservations (session_id, scaling_group) SELECT s.id, word FROM word, sessions AS s;
            INSERT INTO kernel_reservations SELECT k.id, k.session_id, word FROM word, kernels AS k
            """
        )


async def _is_refused(
    connection: DriverConnection, table: str, column: str, value: str, expressions: list[str]
) -> bool:
    """Whether a check of the table is false for a row that has nothing but the value."""
    # An alias in a sub-query, as the check names its columns without their table.
    others = await connection.fetchval(
        "SELECT string_agg(format('NULL::%s AS %I', format_type(atttypid, NULL), attname), ', ')"
        " FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND attname <> $2",
        table,
        column,
    )
    row = ", ".join(part for part in (f"{value} AS {column}", others) if part)
    held = ", ".join(f"({expression})" for expression in expressions) or "true"
    found = await connection.fetchval(f"SELECT false = ANY (ARRAY[{held}]) FROM (SELECT {row}) AS given")
    return found is True


class TestOldRows:
    @pytest.fixture
    async def old_database(self, fresh_database: Database) -> Database:
        """One of the revision before the limits, with rows that are longer."""
        async with fresh_database.connect_as(OWNER) as connection:
            await downgrade_schema(connection, "0003")
        await insert_all(fresh_database)
        await fresh_database.run_as(
            OWNER,
            """
            UPDATE sessions SET name = repeat('n', 1000000),
                designated_agent_ids = array_fill('a1'::text, ARRAY[5000]),
                failed_agent_ids = ARRAY[repeat('f', 1000000)];
            UPDATE kernels SET image = repeat('i', 1000000);
            UPDATE session_history SET reason = repeat('r', 1000000);
            UPDATE agents SET address = repeat('a', 5000)
            """,
        )
        return fresh_database

    async def test_stay_and_new_ones_are_held(self, old_database: Database) -> None:
        # when
        async with old_database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
            # then
            assert await check_schema(connection) == ()
        async with old_database.driver_as(OWNER) as owner:
            assert await owner.fetchval("SELECT max(octet_length(reason)) FROM session_history") == 1_000_000
            with pytest.raises(asyncpg.CheckViolationError) as caught:
                await owner.execute("UPDATE session_history SET reason = reason || '.'")
            assert caught.value.constraint_name == "session_history_reason_length_check"

    async def test_do_not_stop_the_sessions_that_they_belong_to(self, old_database: Database) -> None:
        async with old_database.connect_as(OWNER) as connection:
            await upgrade_schema(connection)
        async with old_database.driver_as(OWNER) as owner:
            # when
            await owner.execute("UPDATE sessions SET status = 'SCHEDULED'")
            await owner.execute(
                "UPDATE kernels SET status = 'SCHEDULED', agent_id = 'a1' WHERE id = $1", KERNEL
            )
            # then: an empty list would allow any agent
            row = await owner.fetchrow("SELECT * FROM sessions WHERE id = $1", SESSION)
            assert row is not None
            assert (row["name"], row["designated_agent_ids"], row["failed_agent_ids"]) == (
                "n" * 256,
                ["a1"] * 4_096,
                [],
            )


async def test_the_version_is_bounded_too(owner_connection: DriverConnection) -> None:
    with pytest.raises(asyncpg.StringDataRightTruncationError):
        await owner_connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = repeat('x', 33)")
