"""The databases that the benchmarks read: a queue of a given size over running and finished sessions."""

from uuid import uuid4

import asyncpg
import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from scheduler_repo.database.engine import create_engine
from scheduler_repo.database.schema.upgrade import upgrade_schema
from scheduler_repo.database.sql_files import read_sql_file
from scheduler_repo.embedded import EmbeddedPostgres
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.settings import DatabaseSettings, SecretUrl
from scheduler_repo.types import ScalingGroupName
from scheduler_repo.workload.synthetic import synthetic_queue

GROUP = ScalingGroupName("bench")
_OWNER, _SCHEDULER = "scheduler_repo_owner", "scheduler_repo_scheduler"

# Sessions in the image of pending ones, in another status; one in a hundred depends on its model.
_MULTIPLY = """
CREATE TEMPORARY TABLE made AS
    SELECT gen_random_uuid() AS id, s.id AS model, row_number() OVER (ORDER BY n, s.id) AS number
    FROM (SELECT id FROM sessions WHERE status = 'PENDING' ORDER BY id LIMIT {models}) AS s,
         generate_series(1, {times}) AS n;
INSERT INTO sessions (id, name, scaling_group, access_key, user_id, project_id, domain_name, session_type,
                      cluster_mode, priority, status, created_at)
    SELECT made.id, 'made-' || made.number, scaling_group, access_key, user_id, project_id, domain_name,
           session_type, cluster_mode, priority, '{status}', created_at - interval '30 days'
    FROM made JOIN sessions AS s ON s.id = made.model;
INSERT INTO kernels (id, session_id, kernel_index, scaling_group, access_key, user_id, project_id, domain_name,
                     status, agent_id, requested_slots, occupied_slots)
    SELECT gen_random_uuid(), made.id, kernel_index, scaling_group, access_key, user_id, project_id,
           domain_name, '{status}', (SELECT array_agg(id) FROM agents)[1 + (made.number + kernel_index) %
                        (SELECT count(*) FROM agents)], requested_slots, requested_slots
    FROM made JOIN kernels AS k ON k.session_id = made.model;
INSERT INTO session_dependencies SELECT id, model FROM made WHERE number % 100 = 0;
INSERT INTO session_history (session_id, to_status) SELECT id, '{status}' FROM made;
DROP TABLE made;
"""
# The ledger, brought into line with the kernels; capacity is widened where so many would not have fitted.
_COUNT_OCCUPIED = """
UPDATE agent_slots AS s SET occupied = k.amount, capacity = greatest(s.capacity, k.amount)
FROM (SELECT agent_id, position, sum(amount)::bigint AS amount
      FROM kernels, unnest(occupied_slots) WITH ORDINALITY AS o (amount, position)
      WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING', 'TERMINATING') GROUP BY 1, 2) AS k
JOIN slot_types AS t ON t.slot_index = k.position - 1
WHERE s.agent_id = k.agent_id AND s.slot_name = t.name;
"""


class BenchDatabase(msgspec.Struct, frozen=True):
    """One filled database; ``dsn`` is for the driver, ``url`` for SQLAlchemy, both as the scheduler role."""

    url: str
    dsn: str


async def make_database(server: EmbeddedPostgres, sessions: int, kernels: int) -> BenchDatabase:
    """Make a migrated database with 1,000 agents and a queue, and nothing else."""
    name = f"bench_{uuid4().hex[:12]}"
    admin = await asyncpg.connect(_dsn(server.url("postgres", "postgres")))
    await admin.execute(f"CREATE DATABASE {name} OWNER postgres TEMPLATE template0")
    await admin.close()
    await run_as_admin(server, name, read_sql_file("roles.sql"))
    engine = create_async_engine(server.url(name, _OWNER), poolclass=NullPool)
    async with engine.connect() as connection:
        await upgrade_schema(connection)
    await engine.dispose()
    url = server.url(name, _SCHEDULER)
    loader = create_engine(DatabaseSettings(url=SecretUrl(url), statement_timeout=600))
    queue = synthetic_queue(sessions=sessions, kernels=kernels, scaling_group=GROUP)
    await ClusterRepository(ClusterDBSource(loader)).load_cluster(queue)
    await loader.dispose()
    return BenchDatabase(url, _dsn(url))


async def add_sessions(server: EmbeddedPostgres, database: BenchDatabase, count: int, status: str) -> None:
    """Add ``count`` sessions of a status, made in the image of up to 5,000 pending ones."""
    models = min(count, 5_000)
    script = _MULTIPLY.format(models=models, times=count // models, status=status)
    name = sa.make_url(database.url).database
    assert name is not None
    await run_as_admin(server, name, script + _COUNT_OCCUPIED)
    await run_as_admin(server, name, "VACUUM (ANALYZE)")


async def run_as_admin(server: EmbeddedPostgres, database: str, script: str) -> None:
    """Run statements as the superuser of the private server."""
    connection = await asyncpg.connect(_dsn(server.url(database, "postgres")))
    await connection.execute(script, timeout=900)
    await connection.close()


def _dsn(url: str) -> str:
    return sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
