"""Sessions that run or have finished, made from a queue by plain SQL."""

from tests.support.databases import DriverConnection


async def finish_sessions(connection: DriverConnection, count: int) -> None:
    """Add so many finished sessions, like those that wait, each with kernels, history and a dependency."""
    owners = "scaling_group, access_key, user_id, project_id, domain_name"
    await connection.execute(
        f"""
        CREATE TEMPORARY TABLE finished AS
        SELECT gen_random_uuid() AS id, gen_random_uuid() AS kernel_id, waiting.id AS like_id
        FROM generate_series(1, {count}) AS number
        JOIN (SELECT id, row_number() OVER () AS place, count(*) OVER () AS total FROM sessions) AS waiting
          ON waiting.place = 1 + number % waiting.total;
        INSERT INTO sessions (id, name, {owners}, session_type, cluster_mode, status, result)
        SELECT f.id, name, {owners}, session_type, cluster_mode, 'TERMINATED', 'SUCCESS'
        FROM finished AS f JOIN sessions AS s ON s.id = f.like_id;
        INSERT INTO kernels
            (id, session_id, kernel_index, {owners}, status, agent_id, requested_slots, occupied_slots)
        SELECT f.kernel_id, f.id, 0, {owners}, 'TERMINATED', (SELECT min(id) FROM agents), '{{1}}', '{{1}}'
        FROM finished AS f JOIN sessions AS s ON s.id = f.like_id;
        INSERT INTO session_history (session_id, to_status) SELECT id, 'TERMINATED' FROM finished;
        INSERT INTO session_dependencies (session_id, depends_on) SELECT id, like_id FROM finished;
        """
    )


async def run_sessions(connection: DriverConnection, count: int) -> None:
    """Have the last of the queue run, on the first agents."""
    await connection.execute(
        f"""
        CREATE TEMPORARY TABLE started AS
        SELECT id, row_number() OVER () AS place FROM sessions
        WHERE status = 'PENDING' ORDER BY id DESC LIMIT {count};
        UPDATE sessions SET status = 'RUNNING' WHERE id IN (SELECT id FROM started);
        UPDATE kernels SET status = 'RUNNING', occupied_slots = requested_slots, agent_id = agents.id
        FROM started,
             (SELECT id, row_number() OVER () AS place, count(*) OVER () AS total FROM agents) AS agents
        WHERE session_id = started.id AND agents.place = 1 + started.place % agents.total;
        """
    )
