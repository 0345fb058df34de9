"""Whatever changes what a tick reads leaves a row in the log, whoever changes it and how."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final, Optional
from uuid import UUID

import asyncpg
import pytest

from scheduler_repo.repositories.scheduler.db_source import TICK_STATEMENTS
from tests.support.databases import ADMIN, OWNER, Database, DriverConnection
from tests.support.rows import (
    KEPT_BY_DATABASE,
    OTHER_SESSION,
    ROWS,
    SESSION,
    USER,
    Row,
    insert,
    insert_all,
    second_row,
)

# Of each table that is logged: the kind, and what its first and second row are called in the log.
_LOGGED: Final[Mapping[str, tuple[str, object, object]]] = {
    "slot_types": ("*", None, None),
    "resource_policies": ("p", "default", "second"),
    "quotas": ("q", f"USER:{USER}", "USER:00000000-0000-0000-0000-000000abcdef"),
    "scaling_groups": ("g", "gpu", "second"),
    "agents": ("a", "a1", "a2"),
    "agent_slots": ("a", "a1", "a1"),
    "sessions": ("s", SESSION, OTHER_SESSION),
    "kernels": ("s", SESSION, SESSION),
    "session_dependencies": ("s", SESSION, SESSION),
    "reservations": ("r", SESSION, OTHER_SESSION),
    "kernel_reservations": ("r", SESSION, SESSION),
}
_OTHERS: Final[Mapping[str, Row]] = {
    "reservations": {"session_id": OTHER_SESSION},
    "kernel_reservations": {"kernel_id": UUID(int=8)},
}
# What tells the two rows of a table apart, which is not always the same as what they are called.
_KEYS: Final = {
    "quotas": "owner_id",
    "agent_slots": "slot_name",
    "session_dependencies": "depends_on",
    "reservations": "session_id",
    "kernel_reservations": "kernel_id",
}
# A new name of the first row, and what must be gone before.
_RENAMED: Final = {
    "resource_policies": "name = 'renamed'",
    "quotas": "owner_id = '00000000-0000-0000-0000-000000000099'",
    "scaling_groups": "name = 'renamed'",
    "agents": "id = 'renamed'",
    "agent_slots": "agent_id = 'a2'",
    "sessions": f"id = '{USER}'",
    "kernels": f"session_id = '{OTHER_SESSION}'",
    "session_dependencies": f"session_id = '{USER}'",
    "reservations": f"session_id = '{OTHER_SESSION}'",
    "kernel_reservations": f"session_id = '{OTHER_SESSION}'",
}
_READ_COLUMNS: Final = """
SELECT DISTINCT c.relname::text AS table_name, a.attname::text AS column_name
FROM pg_depend AS d
JOIN pg_rewrite AS r ON r.oid = d.objid
JOIN pg_class AS c ON c.oid = d.refobjid AND c.relkind = 'r'
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
  AND r.ev_class = $1::text::regclass
"""
_PARAMETER: Final = re.compile(r"\$(\d+)(?:::[a-z]+(?:\[\])?)?")

Logged = list[tuple[str, Optional[list[object]]]]


@pytest.fixture
async def owner(migrated_database: Database) -> AsyncIterator[DriverConnection]:
    """The owner of the tables, in a database with a row or two in each."""
    await insert_all(migrated_database)
    async with migrated_database.driver_as(OWNER) as driver:
        yield driver


@asynccontextmanager
async def _undone(driver: DriverConnection) -> AsyncIterator[None]:
    transaction = driver.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _logged(driver: DriverConnection) -> Logged:
    """What the current transaction has logged, in order."""
    rows = await driver.fetch(
        "SELECT kind, sessions, names FROM change_log WHERE xid = pg_current_xact_id() ORDER BY ctid"
    )
    return [(row["kind"].decode(), row["sessions"] or row["names"]) for row in rows]


def _row_of(table: str, name: object) -> tuple[str, Optional[list[object]]]:
    return _LOGGED[table][0], None if name is None else [name]


async def _tables_with_triggers(driver: DriverConnection) -> set[str]:
    rows = await driver.fetch("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = 'log_insert'")
    return {row[0] for row in rows}


async def _without_references(driver: DriverConnection) -> None:
    """Take away foreign keys, so that a row of any table can be deleted and renamed."""
    for row in await driver.fetch(
        "SELECT conrelid::regclass::text AS table_name, conname FROM pg_constraint "
        "WHERE contype = 'f' AND connamespace = 'public'::regnamespace"
    ):
        await driver.execute(f"ALTER TABLE {row['table_name']} DROP CONSTRAINT {row['conname']}")


class TestEveryColumn:
    async def test_that_a_tick_reads_is_logged_when_it_changes(self, owner: DriverConnection) -> None:
        unlogged = []
        seen = set()
        for number, statement in enumerate(TICK_STATEMENTS):
            async with _undone(owner):
                types = (await owner.prepare(statement.text)).get_parameters()
                await owner.execute(
                    f"CREATE VIEW read_{number} AS {_without_parameters(statement.text, types)}"
                )
                for table, column in await owner.fetch(_READ_COLUMNS, f"read_{number}"):
                    if table in KEPT_BY_DATABASE or (table, column) in seen:
                        continue
                    seen.add((table, column))
                    async with owner.transaction():
                        before = len(await _logged(owner))
                        value = "DEFAULT" if column == "position" else column
                        await owner.execute(f"UPDATE {table} SET {column} = {value}")
                        if len(await _logged(owner)) == before:
                            unlogged.append(f"{table}.{column}")
        assert unlogged == []
        assert {table for table, _ in seen} == _LOGGED.keys()
        assert len(seen) > 60

    async def test_that_a_tick_does_not_read_has_no_trigger(self, owner: DriverConnection) -> None:
        assert await _tables_with_triggers(owner) == _LOGGED.keys()


def _without_parameters(text: str, types: tuple[asyncpg.Type, ...]) -> str:
    """NULL of its type in the place of each parameter."""
    names = [f"{each.name.removesuffix('[]')}{'[]' if each.kind == 'array' else ''}" for each in types]
    return _PARAMETER.sub(lambda found: f"NULL::{names[int(found[1]) - 1]}", text)


class TestEveryTable:
    @pytest.mark.parametrize("table", _LOGGED)
    async def test_logs_every_way_to_write(self, owner: DriverConnection, table: str) -> None:
        _, first, second = _LOGGED[table]
        row = {**second_row(table, {}), **_OTHERS.get(table, {})}
        columns = ", ".join(row)
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        async with _undone(owner):
            await _without_references(owner)
            key = _KEYS.get(table, "id" if "id" in row else "name")
            is_second = f"{key} = '{row[key]}'"
            expected: Logged = []

            await insert(owner, table, row)
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "INSERT"

            await owner.execute(f"UPDATE {table} SET {key} = {key} WHERE {is_second}")
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "UPDATE"

            await owner.execute(
                f"INSERT INTO {table} ({columns}) VALUES ({places}) "
                f"ON CONFLICT ({await _primary_key(owner, table)}) DO UPDATE SET {key} = excluded.{key}",
                *row.values(),
            )
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "ON CONFLICT"

            await owner.execute(f"CREATE TEMPORARY TABLE source AS SELECT * FROM {table} WHERE {is_second}")
            await owner.execute(f"DELETE FROM {table} WHERE {is_second}")
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "DELETE"

            await _copy(owner, table)
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "COPY"

            await owner.execute(
                f"MERGE INTO {table} AS t USING source AS s ON t.{key} = s.{key} WHEN MATCHED THEN DELETE"
            )
            expected.append(_row_of(table, second))
            assert await _logged(owner) == expected, "MERGE"

            # A statement that changes nothing leaves nothing, and one that is undone neither.
            await owner.execute(f"UPDATE {table} SET {key} = {key} WHERE false")
            async with _undone(owner):
                await owner.execute(f"DELETE FROM {table}")
            assert await _logged(owner) == expected

            if table in _RENAMED:
                await owner.execute(f"UPDATE {table} SET {_RENAMED[table]} WHERE {_is_first(table)}")
                found = (await _logged(owner))[len(expected) :]
                assert _row_of(table, first) in found, "the former key"
                assert len(found) == 2
                expected += found

            await owner.execute(f"TRUNCATE {table}")
            assert await _logged(owner) == [*expected, ("*", None)], "TRUNCATE"

    async def test_logs_what_is_deleted_with_another(self, owner: DriverConnection) -> None:
        async with _undone(owner):
            await owner.execute("DELETE FROM sessions")
            logged = await _logged(owner)

        assert sorted(kind for kind, _ in logged) == ["r", "r", "s", "s", "s"]
        assert all(ids == [SESSION] for _, ids in logged)

    async def test_logs_everything_where_very_many_rows_change(self, owner: DriverConnection) -> None:
        async with _undone(owner):
            for count, expected in ((100_000, "p"), (100_001, "*")):
                await owner.execute(
                    "INSERT INTO resource_policies (name)"
                    f" SELECT '{count} ' || n FROM generate_series(1, {count}) AS n"
                )
                kind, names = (await _logged(owner))[-1]
                assert (kind, names and len(names)) == (expected, count if expected == "p" else None)

    async def test_heartbeats_leave_nothing(self, owner: DriverConnection) -> None:
        async with _undone(owner):
            await owner.execute("UPDATE agent_heartbeats SET heartbeat_at = now()")
            assert await _logged(owner) == []


async def _primary_key(driver: DriverConnection, table: str) -> str:
    found: str = await driver.fetchval(
        "SELECT string_agg(a.attname, ', ') FROM pg_index AS i JOIN pg_attribute AS a "
        "ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) "
        "WHERE i.indisprimary AND i.indrelid = $1::text::regclass",
        table,
    )
    return found


async def _copy(driver: DriverConnection, table: str) -> None:
    rows = await driver.fetch("SELECT * FROM source")
    records = [tuple(row) for row in rows]
    await driver.copy_records_to_table(table, records=records, columns=list(rows[0].keys()))


def _is_first(table: str) -> str:
    column = {"quotas": "owner_id", "agent_slots": "slot_name"}.get(table)
    row = ROWS[table]
    column = column or next(iter(row))
    return f"{column} = '{row[column]}'"


class TestProtection:
    @pytest.mark.parametrize("role", [OWNER, ADMIN])
    @pytest.mark.parametrize("table", KEPT_BY_DATABASE)
    async def test_what_is_kept_is_not_changed_by_hand(
        self, migrated_database: Database, table: str, role: str
    ) -> None:
        await insert_all(migrated_database)
        async with migrated_database.driver_as(role) as driver:
            column = await driver.fetchval(
                "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum = 1", table
            )
            for statement in (
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"UPDATE {table} SET {column} = {column}",
            ):
                with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="rebuild_usage alone"):
                    await driver.execute(statement)

    @pytest.mark.parametrize("table", KEPT_BY_DATABASE)
    async def test_rows_of_a_dump_are_dropped(self, owner: DriverConnection, table: str) -> None:
        await owner.execute(f"CREATE TEMPORARY TABLE source AS SELECT * FROM {table}")
        if table == "usage_log":
            await owner.execute(
                "INSERT INTO source SELECT '3', 'k', gen_random_uuid(), gen_random_uuid(), 'd', 1, '{}'"
            )
        if table == "owner_usage":
            await owner.execute("INSERT INTO source VALUES ('DOMAIN', 'lab', 1, '{1}')")
        before = await owner.fetch(f"SELECT * FROM {table}")
        assert await owner.fetchval("SELECT count(*) FROM source") > 0

        await owner.execute(f"INSERT INTO {table} SELECT * FROM source")

        assert await owner.fetch(f"SELECT * FROM {table}") == before
