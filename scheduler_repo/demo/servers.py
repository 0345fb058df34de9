"""The demo's own servers: started aside, made ready, and never left behind by accident."""

import asyncio
import shlex
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from typing import Final, Optional

import asyncpg

from scheduler_repo.cli.process.invoked_command import invoked_command
from scheduler_repo.cli.process.servers import connect, open_engine
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
    """Begin to start all servers at once and yield what to await; at the end all are stopped and removed.

    Except those that were left running meanwhile. Awaiting raises EmbeddedServerError.
    """
    event_loop = asyncio.get_running_loop()
    starts = [event_loop.run_in_executor(None, server.start) for server in servers]
    try:
        yield asyncio.shield(asyncio.gather(*starts))
    finally:
        # A start that is under way cannot be interrupted, only undone.
        if starts:
            await asyncio.wait(starts)
        await asyncio.gather(*(asyncio.to_thread(server.remove) for server in servers))


async def create_database(postgres: EmbeddedPostgres) -> None:
    """Make the roles and a database of the owner role, and the schema as that role."""
    superuser = await asyncpg.connect(
        host=str(postgres.socket_directory), port=postgres.port, user=_SUPERUSER, database="postgres"
    )
    try:
        await superuser.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        await superuser.close()
    superuser = await asyncpg.connect(
        host=str(postgres.socket_directory), port=postgres.port, user=_SUPERUSER, database=DATABASE
    )
    try:
        await superuser.execute(read_sql_file("roles.sql"))
        await superuser.execute(f"ALTER DATABASE {DATABASE} OWNER TO {OWNER}")
    finally:
        await superuser.close()
    settings = DatabaseSettings(url=SecretUrl(postgres.url(DATABASE, OWNER)))
    async with open_engine(settings) as engine, connect(engine, settings) as connection:
        await upgrade_schema(connection)


def keeping_text(
    postgres: EmbeddedPostgres, valkey: Optional[EmbeddedValkey], group: ScalingGroupName, *, has_tcp: bool
) -> str:
    """Say how to reach running servers, and how to stop and remove them; commands of short lines."""
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
    # The file is the last that PostgreSQL deletes; the process may stay on as a zombie where nobody reaps it,
    # and the file if the server crashed.
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
