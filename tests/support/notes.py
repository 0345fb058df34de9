"""A table to write notes to, in a database that one test after the other has, emptied between them.

Tests leave broken connections behind, so each is ended; and a test may have changed the database itself, or the
table: then the next one has a new copy.
"""

from typing import Final, Optional

import asyncpg

from tests.support.databases import ADMIN, OWNER, SCHEDULER, Database, DatabaseServer, DriverConnection
from tests.support.shared_databases import CATALOGS, State, read_state
from tests.support.waiting import PATIENCE

_TABLE: Final = f"""
CREATE TABLE notes (id int PRIMARY KEY, words text NOT NULL);
GRANT SELECT, INSERT, UPDATE ON notes TO {SCHEDULER}
"""
# Each waits until that process is gone.
_END_OTHERS: Final = f"""
SELECT coalesce(bool_and(pg_terminate_backend(pid, {PATIENCE * 1000:.0f})), true) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


class NotesDatabases:
    """Hands out one at a time, in which the scheduler role may write notes."""

    def __init__(self, server: DatabaseServer, template: Database) -> None:
        """Take the server, and the database with the three roles to copy."""
        self._server = server
        self._template = template
        self._kept: Optional[tuple[Database, DriverConnection, State]] = None

    async def take(self) -> Database:
        """Have one whose table is empty."""
        if self._kept is None:
            database = await self._server.create_database(self._template)
            await database.run_as(OWNER, _TABLE)
            admin = await database.open_driver_as(ADMIN)
            self._kept = database, admin, await read_state(admin, CATALOGS)
        return self._kept[0]

    async def give_back(self) -> None:
        """End what is connected and delete the notes; where that does not make it as it was, drop it."""
        assert self._kept is not None
        _, admin, state = self._kept
        try:
            sound = await admin.fetchval(_END_OTHERS) and await read_state(admin, CATALOGS) == state
            if sound:
                await admin.execute("DELETE FROM notes")
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            sound = False
        if not sound:
            await self.close()

    async def close(self) -> None:
        """Drop what is kept."""
        if self._kept is not None:
            database, admin, _ = self._kept
            self._kept = None
            admin.terminate()
            await self._server.drop_database(database)
