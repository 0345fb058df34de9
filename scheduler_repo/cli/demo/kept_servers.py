"""How to reach, and how to end, the demo's servers that go on."""

import shlex
from collections.abc import Sequence
from typing import Optional

from scheduler_repo.cli.process.invocation import find_invoked_command
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from scheduler_repo.embedded.ready import DATABASE, SCHEDULER, SUPERUSER
from scheduler_repo.types import ScalingGroupName


def describe_kept_servers(
    postgres: EmbeddedPostgres, valkey: Optional[EmbeddedValkey], group: ScalingGroupName, *, has_tcp: bool
) -> str:
    """Return how to reach the running servers, and how to stop and remove them: commands in short lines."""
    quote = shlex.quote
    url = postgres.url(DATABASE, SCHEDULER).replace("postgresql+asyncpg:", "postgresql:")
    snapshot = [f"{find_invoked_command()} snapshot {quote(group)}", f"--database-url {quote(url)}"]
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
            f"the superuser, {SUPERUSER}."
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
