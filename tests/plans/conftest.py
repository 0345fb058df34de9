"""A database with a long past, as the planner knows, beside which little runs and waits; nobody changes it."""

from collections.abc import AsyncIterator
from typing import Final

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.workload.synthetic import synthetic_cluster
from tests.plans.sizes import FINISHED, PENDING, RUNNING
from tests.support.past_and_present import finish_sessions, run_sessions
from tests.support.shared_databases import SharedDatabase, SharedDatabases

# A third of what runs may be preempted; a few of those that wait hold their place.
_LESS_IMPORTANT: Final = """
UPDATE scaling_groups SET preemption_scope = 'GROUP';
UPDATE sessions SET priority = -(abs(hashtext(id::text)) % 3) + 100 WHERE status = 'RUNNING';
UPDATE sessions SET priority = 99 WHERE status = 'PENDING';
"""
_RESERVATIONS: Final = """
INSERT INTO reservations (session_id, scaling_group)
SELECT id, scaling_group FROM sessions WHERE status = 'PENDING' ORDER BY id LIMIT 10;
INSERT INTO kernel_reservations (kernel_id, session_id, agent_id)
SELECT k.id, r.session_id, (SELECT min(id) FROM agents)
FROM reservations AS r JOIN kernels AS k ON k.session_id = r.session_id;
"""


@pytest.fixture(scope="session")
async def long_history(shared_databases: SharedDatabases) -> AsyncIterator[SharedDatabase]:
    """Made once: tests that change it roll back what they did."""
    shared = await shared_databases.take()
    connection = await shared.owner_connection()
    cluster = synthetic_cluster(40, PENDING + RUNNING, seed=5)
    await ClusterRepository(ClusterDBSource(shared.engine)).load_cluster(cluster)
    await run_sessions(connection, RUNNING)
    await connection.execute(_LESS_IMPORTANT)
    await connection.execute(_RESERVATIONS)
    await finish_sessions(connection, FINISHED)
    await connection.execute("ANALYZE")
    yield shared
    await shared_databases.give_back(shared)


@pytest.fixture
def engine_with_history(long_history: SharedDatabase) -> ExtendedAsyncSAEngine:
    """The engine of a scheduler on it."""
    return long_history.engine
