"""Nothing that a test leaves in the database of the notes reaches the next one."""

import asyncpg
import pytest

from tests.support.databases import ADMIN, SCHEDULER
from tests.support.notes import NotesDatabases


async def test_what_is_left_open_is_ended(notes_databases: NotesDatabases) -> None:
    # Given a transaction that stays open with what it wrote, beside a note
    first = await notes_databases.take()
    await first.run_as(SCHEDULER, "INSERT INTO notes VALUES (1, 'committed')")
    left = await first.open_driver_as(SCHEDULER)
    await left.execute("BEGIN; INSERT INTO notes VALUES (2, 'open')")
    # When the database is given back
    await notes_databases.give_back()
    # Then the next one is the same, without either
    second = await notes_databases.take()
    assert second == first
    with pytest.raises((asyncpg.PostgresConnectionError, asyncpg.InterfaceError, asyncpg.AdminShutdownError)):
        await left.execute("COMMIT")
    left.terminate()
    async with second.driver_as(ADMIN) as admin:
        assert await admin.fetchval("SELECT count(*) FROM notes") == 0
    await notes_databases.give_back()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE notes ADD COLUMN more int",
        "CREATE TABLE others ()",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET lock_timeout = 1', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I CONNECTION LIMIT 1', current_database()); END $$",
    ],
)
async def test_a_changed_one_is_dropped(notes_databases: NotesDatabases, change: str) -> None:
    first = await notes_databases.take()
    await first.run_as(ADMIN, change)
    await notes_databases.give_back()
    assert await notes_databases.take() != first
    await notes_databases.give_back()
