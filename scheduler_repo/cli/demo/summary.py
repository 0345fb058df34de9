"""The outcome of a run of the demo, for programs and for people, and how to reach servers that go on."""

import shlex
from collections.abc import Iterator, Mapping
from typing import Optional

import msgspec
from rich.console import Group, RenderableType

from scheduler_repo.cli.output.amounts import format_amount, format_percent
from scheduler_repo.cli.output.console import plain_table
from scheduler_repo.cli.process.invocation import find_invoked_command
from scheduler_repo.embedded import EmbeddedPostgres, EmbeddedServer, EmbeddedValkey
from scheduler_repo.embedded.ready import DATABASE, SCHEDULER, SUPERUSER
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.loop.tick import TickTimes
from scheduler_repo.types import ScalingGroupName, SlotName


class SlotUse(msgspec.Struct, frozen=True, kw_only=True):
    """One slot, summed over the agents, in its smallest unit."""

    capacity: int
    occupied: int


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one run.

    ``elsewhere`` counts sessions that another writer placed or ended meanwhile; ``tick_ms`` has the median over
    the ticks of each of their parts.
    """

    group: ScalingGroupName
    sessions: int
    placed: int
    waiting: int
    elsewhere: int
    waiting_reasons: Mapping[str, int]
    rejected: Mapping[str, int]
    ticks: int
    tick_ms: Mapping[str, float]
    agents: int
    overcommitted_agents: int
    slots: Mapping[SlotName, SlotUse]
    phases_s: Mapping[str, float]
    total_s: float


def lay_out_summary(result: DemoResult, data: SchedulingData, in_all: TickTimes) -> RenderableType:
    """Lay the result out for a terminal or a pipe; ``in_all`` are the sums over all ticks."""
    parts = msgspec.structs.asdict(in_all).items()
    ticks = ", ".join(f"{part} {seconds * 1000:,.1f}" for part, seconds in parts)
    phases = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in result.phases_s.items())
    times = [("ticks, in all", f"{ticks} ms"), ("run", f"{phases}; {result.total_s:.2f} s in all")]
    slots = plain_table(_slots(result, data), ("slot", "capacity", "occupied", "per cent"), (1, 2, 3))
    counts = ((name, f"{number:,}") for name, number in _counts(result))
    return Group("", plain_table(counts, numbers=(1,)), "", slots, "", plain_table(times), "")


def _counts(result: DemoResult) -> Iterator[tuple[str, int]]:
    yield "agents", result.agents
    yield "sessions", result.sessions
    yield "  placed", result.placed
    yield "  waiting", result.waiting
    for reason, count in result.waiting_reasons.items():
        yield f"    {reason}", count
    if result.elsewhere:
        yield "  placed or ended by others", result.elsewhere
    yield "rejected by the gate", sum(result.rejected.values())
    for code, count in result.rejected.items():
        yield f"    {code}", count
    yield "overcommitted agents", result.overcommitted_agents
    yield "ticks", result.ticks


def _slots(result: DemoResult, data: SchedulingData) -> Iterator[tuple[str, ...]]:
    for slot_type in data.slot_types:
        use = result.slots.get(slot_type.name)
        if use is not None:
            capacity, occupied = (format_amount(amount, slot_type) for amount in (use.capacity, use.occupied))
            yield slot_type.name, capacity, occupied, format_percent(use.occupied, use.capacity)


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
    socket = f"-h {quote(str(postgres.socket_directory))} -p {postgres.port}"
    psql = [quote(str(postgres.psql or "psql")), socket, f"-U {SCHEDULER} -d {DATABASE}"]
    pids = " ".join(str(server.pid) for server in servers)
    # PostgreSQL deletes this file last. Wait for either: where nobody reaps the process it stays as a zombie,
    # and after a crash the file stays.
    lock = quote(str(postgres.directory / "data" / "postmaster.pid"))
    wait = [f"while kill -0 {postgres.pid} 2>/dev/null &&", f"[ -e {lock} ]; do", "sleep 0.1; done"]
    # -f, as Valkey may delete its socket meanwhile.
    remove = ["rm -rf", *(quote(str(server.directory)) for server in servers)]
    lines = ["The servers go on. To look into the database:", _join(psql), _join(snapshot)]
    if has_tcp:
        lines.append(
            f"Over TCP, 127.0.0.1:{postgres.port}, a role needs a password first: \\password in psql as\n"
            f"the superuser, {SUPERUSER}."
        )
    lines += [
        "To stop them, and then to remove all they hold:",
        f"  kill -INT {pids}",
        _join(wait),
        _join(remove),
    ]
    return "\n".join(lines)


def _join(parts: list[str]) -> str:
    return "  " + " \\\n    ".join(parts)
