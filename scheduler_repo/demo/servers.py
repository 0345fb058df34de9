"""The demo's own servers: started in threads, given a database, and never left behind by accident."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Optional

import asyncpg

from scheduler_repo.cli.process.invocation import invoked_command
from scheduler_repo.cli.process.servers import connect
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName

DATABASE: Final = "scheduler_repo"
OWNER: Final = "scheduler_repo_owner"
SCHEDULER: Final = "scheduler_repo_scheduler"
_SUPERUSER: Final = "postgres"


@asynccontextmanager
async def starting(servers: Sequence[EmbeddedServer]) -> AsyncIterator[Awaitable[object]]:
    """Start all servers in threads and yield an awaitable that completes, or raises, when all have started.

    At the end stops and removes all but those that were left running.
    """
    event_loop = asyncio.get_running_loop()
    starts = [event_loop.run_in_executor(None, server.start) for server in servers]
    try:
        yield asyncio.shield(asyncio.gather(*starts))
    finally:
        # A start in a thread cannot be interrupted, only undone.
        if starts:
            await asyncio.wait(starts)
        await asyncio.gather(*(asyncio.to_thread(server.remove) for server in servers))


async def create_database(postgres: EmbeddedPostgres) -> None:
    """Create the three roles, a database that the owner role owns, and, as that role, its schema."""
    await _execute(postgres, _SUPERUSER, f"CREATE DATABASE {DATABASE}")
    await _execute(
        postgres, DATABASE, read_sql_file("roles.sql"), f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}"
    )
    settings = DatabaseSettings(url=SecretUrl(postgres.url(DATABASE, OWNER)))
    async with connect(settings) as connection:
        await upgrade_schema(connection)


async def _execute(postgres: EmbeddedPostgres, database: str, *statements: str) -> None:
    superuser = await asyncpg.connect(
        host=str(postgres.socket_directory), port=postgres.port, user=_SUPERUSER, database=database
    )
    try:
        for statement in statements:
            await superuser.execute(statement)
    finally:
        await superuser.close()


def keeping_text(
    postgres: EmbeddedPostgres, valkey: Optional[EmbeddedValkey], group: ScalingGroupName, *, has_tcp: bool
) -> str:
    """Return how to reach the running servers, and how to stop and remove them: commands in short lines."""
    quote = shlex.quote
    url = postgres.url(DATABASE, SCHEDULER).replace("postgresql+asyncpg:", "postgresql:")
    snapshot = [f"{invoked_command()} snapshot {quote(group)}", f"--database-url {quote(url)}"]
    servers: list[EmbeddedServer] = [postgres]
    if valkey is not None:
        snapshot += [f"--redis-url {quote(valkey.url)}", "--max-staleness 60"]
        servers.append(valkey)
    psql = [
        quote(str(postgres.psql or "psql")),
        f"-h {quote(str(postgres.socket_directory))} -p {postgres.port}",
        f"-U {SCHEDULER} -d {DATABASE}",
    ]
    pids = " ".join(str(server.pid) for server in servers)
    # PostgreSQL deletes this file last. Wait for either: where nobody reaps the process it stays as a zombie,
    # and after a crash the file stays.
    lock = quote(str(postgres.directory / "data" / "postmaster.pid"))
    wait = [f"while kill -0 {postgres.pid} 2>/dev/null &&", f"[ -e {lock} ]; do", "sleep 0.1; done"]
    # -f, as Valkey may delete its socket meanwhile.
    remove = ["rm -rf", *(quote(str(server.directory)) for server in servers)]
    lines = ["The servers go on. To look into the database:", _command(psql), _command(snapshot)]
    if has_tcp:
        lines.append(
            f"Over TCP, 127.0.0.1:{postgres.port}, a role needs a password first: \\password in psql as\n"
            f"the superuser, {_SUPERUSER}."
        )
    lines += [
        "To stop them, and then to remove all they hold:",
        _command([f"kill -INT {pids}"]),
        _command(wait),
        _command(remove),
    ]
    return "\n".join(lines)


def _command(parts: Sequence[str]) -> str:
    return "  " + " \\\n    ".join(parts)
