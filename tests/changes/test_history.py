"""The history that the change log tells is known only where nothing can have been written past the log."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from tests.changes.usage import TRIGGERS_OF_OTHERS
from tests.support.databases import ADMIN, OWNER, READER, SCHEDULER, Database, DriverConnection

COLUMNS: Final = ("schema_oid", "log_oid", "timeline", "life", "triggers")
_TRIGGERS: Final = """
SELECT tgrelid::regclass::text AS "table", tgname AS name FROM pg_trigger
WHERE tgname LIKE 'log%' OR tgname IN ('refuse_change', 'drop_restored_row')
"""


async def history(connection: DriverConnection) -> dict[str, object]:
    row = await connection.fetchrow(f"SELECT {', '.join(COLUMNS)} FROM change_history()")
    assert isinstance(row, asyncpg.Record)
    return dict(row)


@asynccontextmanager
async def undone(connection: DriverConnection) -> AsyncIterator[None]:
    """A transaction that is rolled back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


class TestHistory:
    @pytest.mark.parametrize("role", [OWNER, SCHEDULER, READER])
    async def test_is_known_to_every_role(self, migrated_database: Database, role: str) -> None:
        async with migrated_database.driver_as(role) as connection:
            found = await history(connection)
        assert None not in found.values()

    async def test_is_not_known_while_any_trigger_is_off_or_fires_at_times(
        self, owner_connection: DriverConnection
    ) -> None:
        # given
        before = await history(owner_connection)
        triggers = await owner_connection.fetch(_TRIGGERS)
        # then
        for table, name in triggers:
            async with undone(owner_connection):
                for state in ("DISABLE", "ENABLE", "ENABLE REPLICA"):
                    await owner_connection.execute(f"ALTER TABLE {table} {state} TRIGGER {name}")
                    assert (await history(owner_connection))["triggers"] is None, (table, name, state)
                # It may have been written meanwhile.
                await owner_connection.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}")
                after = await history(owner_connection)
                assert after["triggers"] not in (None, before["triggers"]), (table, name)
            async with undone(owner_connection):
                await owner_connection.execute(f"DROP TRIGGER {name} ON {table}")
                assert (await history(owner_connection))["triggers"] is None, (table, name)
        assert await history(owner_connection) == before

    async def test_does_not_depend_on_triggers_of_others(self, owner_connection: DriverConnection) -> None:
        before = await history(owner_connection)
        async with undone(owner_connection):
            await owner_connection.execute(TRIGGERS_OF_OTHERS)
            assert await history(owner_connection) == before

    async def test_is_another_once_a_function_was_replaced(self, owner_connection: DriverConnection) -> None:
        before = await history(owner_connection)
        async with undone(owner_connection):
            definition = await owner_connection.fetchval("SELECT pg_get_functiondef('log_sessions'::regproc)")
            await owner_connection.execute(definition)
            assert (await history(owner_connection))["triggers"] not in (None, before["triggers"])

    async def test_has_no_life_after_a_crash(self, owner_connection: DriverConnection) -> None:
        async with undone(owner_connection):
            await owner_connection.execute(
                "SET LOCAL scheduler_repo.keeps_changes = 'on'; DELETE FROM server_life"
            )
            assert (await history(owner_connection))["life"] is None

    async def test_is_not_known_where_a_subscription_writes(self, migrated_database: Database) -> None:
        async with migrated_database.driver_as(ADMIN) as admin, undone(admin):
            await admin.execute(
                "SET LOCAL allow_system_table_mods = on;"
                "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)"
                " VALUES (1, 'sessions'::regclass, 'r')"
            )
            assert set((await history(admin)).values()) == {None}
