"""Sessions that finished long ago, and what else grows old, made by plain SQL."""

from collections.abc import Iterable

from scheduler_repo.types import SessionId
from tests.support.databases import DriverConnection
from tests.support.small_cluster import ACCESS_KEY, DOMAIN, GROUP, PROJECT, USER, session_id

_OWNERS = f"'{GROUP}', '{ACCESS_KEY}', '{USER}'::uuid, '{PROJECT}'::uuid, '{DOMAIN}'"


_OWNER_COLUMNS = "scaling_group, access_key, user_id, project_id, domain_name"


# The sessions that are not over.
LIVE = range(1, 9)

# Every table whose rows go with a session, by the column that says whose they are.
TABLES_OF_SESSIONS = {
    "sessions": "id",
    "kernels": "session_id",
    "session_history": "session_id",
    "session_dependencies": "session_id",
    "session_vfolder_mounts": "session_id",
    "reservations": "session_id",
    "kernel_reservations": "session_id",
}


async def add_finished(
    connection: DriverConnection,
    numbers: range,
    *,
    status: str = "TERMINATED",
    days: int = 40,
) -> None:
    """Add sessions that finished so many days ago, a second apart, each with two kernels and two changes."""
    await connection.execute(
        f"""
        CREATE TEMPORARY TABLE finished AS
        SELECT lpad(to_hex(1000 + number), 32, '0')::uuid AS id, number,
               now() - interval '{days} days' + number * interval '1 second' AS at
        FROM generate_series({numbers.start}, {numbers.stop - 1}) AS number;
        INSERT INTO sessions (id, name, {_OWNER_COLUMNS}, session_type, cluster_mode, status, status_changed_at)
        SELECT id, 'finished-' || number, {_OWNERS}, 'BATCH', 'MULTI_NODE', '{status}', at FROM finished;
        INSERT INTO kernels (id, session_id, kernel_index, {_OWNER_COLUMNS}, status, agent_id,
                             requested_slots, occupied_slots, exit_code)
        SELECT lpad(to_hex(1000000 + 100 * number + index), 32, '0')::uuid, id, index, {_OWNERS},
               '{status}', 'a1', '{{1,2}}', '{{1,2}}', 0
        FROM finished, generate_series(0, 1) AS index;
        INSERT INTO session_history (session_id, from_status, to_status, changed_at)
        SELECT id, NULL, 'PENDING', at - interval '1 hour' FROM finished
        UNION ALL SELECT id, 'PENDING', '{status}', at FROM finished;
        DROP TABLE finished
        """
    )


async def add_all_that_belongs(connection: DriverConnection, number: int) -> None:
    """Give a session a dependency, a mount and a reservation of its first kernel."""
    await connection.execute(
        f"""
        INSERT INTO session_dependencies VALUES ('{session_id(number)}', gen_random_uuid());
        INSERT INTO vfolders (id, name, host, user_id) VALUES ('{session_id(number)}', 'data', 'nfs', '{USER}');
        INSERT INTO session_vfolder_mounts
        VALUES ('{session_id(number)}', '{session_id(number)}', '/data', 'READ_ONLY');
        INSERT INTO reservations (session_id, scaling_group) VALUES ('{session_id(number)}', '{GROUP}');
        INSERT INTO kernel_reservations
        SELECT id, session_id, 'a1' FROM kernels WHERE session_id = '{session_id(number)}' AND kernel_index = 0
        """
    )


async def depend(connection: DriverConnection, number: int, on: int) -> None:
    """Let one session depend on another."""
    await connection.execute(
        "INSERT INTO session_dependencies VALUES ($1, $2)", session_id(number), session_id(on)
    )


async def set_status(connection: DriverConnection, number: int, status: str, days: int = 0) -> None:
    """Move a session and its kernels so many days ago, past the table of transitions."""
    await connection.execute(
        "UPDATE sessions SET status = $2, status_changed_at = now() - $3 * interval '1 day' WHERE id = $1",
        session_id(number),
        status,
        days,
    )
    await connection.execute(
        "UPDATE kernels SET status = $2, agent_id = 'a1' WHERE session_id = $1", session_id(number), status
    )


async def add_operations(connection: DriverConnection, count: int, *, days: int = 40) -> None:
    """Add operations of so many days ago, one second after the other."""
    await connection.execute(
        f"""
        INSERT INTO operations (id, kind, request_digest, result, created_at)
        SELECT gen_random_uuid(), 'test', '\\x01', '\\x02',
               now() - interval '{days} days' + number * interval '1 second'
        FROM generate_series(1, {count}) AS number
        """
    )


async def add_agent_history(connection: DriverConnection, agent_id: str, count: int, *, days: int = 40) -> None:
    """Add changes of an agent's status of so many days ago, one second after the other."""
    await connection.execute(
        f"""
        INSERT INTO agent_history (agent_id, from_status, to_status, changed_at)
        SELECT '{agent_id}', 'LOST', 'ALIVE', now() - interval '{days} days' + number * interval '1 second'
        FROM generate_series(1, {count}) AS number
        """
    )


async def existing(connection: DriverConnection) -> set[SessionId]:
    """The ids of all sessions that there are."""
    return {row["id"] for row in await connection.fetch("SELECT id FROM sessions")}


async def rows_of(connection: DriverConnection, numbers: Iterable[int]) -> dict[str, list[tuple[object, ...]]]:
    """All rows that belong to sessions, by table."""
    ids = [session_id(number) for number in numbers]
    found = {}
    for table, column in TABLES_OF_SESSIONS.items():
        rows = await connection.fetch(f"SELECT * FROM {table} WHERE {column} = ANY ($1) ORDER BY 1, 2", ids)
        found[table] = [tuple(row) for row in rows]
    return found
