"""A streaming standby of an embedded server, to promote."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.embedded.directory import PrivateDirectory
from scheduler_repo.testing.memory_folder import memory_folder
from tests.support.databases import ADMIN, Database


class _Standby(EmbeddedPostgres):
    """A server whose data directory is a base backup of another's, which it follows."""

    def __init__(self, primary: EmbeddedPostgres) -> None:
        super().__init__(settings={"fsync": "off"}, parent=memory_folder())
        self._primary = primary

    def _run_initdb(self, home: PrivateDirectory, binaries: Path, _locale: str) -> int:
        source = ["-h", str(self._primary.socket_directory), "-p", str(self._primary.port), "-U", "postgres"]
        command = [str(binaries / "pg_basebackup"), *source, "-D", str(home.data), "-R", "--checkpoint=fast"]
        return home.spawn(command).wait(self._start_timeout)


@asynccontextmanager
async def standby_of(primary: EmbeddedPostgres, database: Database) -> AsyncIterator[EmbeddedPostgres]:
    """A running standby of ``primary``, which has ``database``."""
    rules = primary.directory / "data" / "pg_hba.conf"
    text = await asyncio.to_thread(rules.read_text)
    await asyncio.to_thread(rules.write_text, f"local replication all trust\n{text}")
    await database.run_as(ADMIN, "SELECT pg_reload_conf()")
    standby = _Standby(primary)
    await asyncio.to_thread(standby.start)
    try:
        yield standby
    finally:
        await asyncio.to_thread(standby.stop)
        await asyncio.to_thread(standby.remove)


async def fail_over(primary: Database, standby: Database) -> None:
    """Promote the standby once it has all that was committed; the former primary only reads from now on."""
    async with primary.driver_as(ADMIN) as former, standby.driver_as(ADMIN) as next_one:
        await former.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        await former.execute("SELECT pg_reload_conf()")
        while await former.fetchval("SHOW default_transaction_read_only") != "on":
            await former.execute("SELECT pg_sleep(0.01)")
        committed = await former.fetchval("SELECT pg_current_wal_lsn()")
        while not await next_one.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::pg_lsn", committed):
            await next_one.execute("SELECT pg_sleep(0.01)")
        assert await next_one.fetchval("SELECT pg_promote()")
