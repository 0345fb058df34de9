"""A queue longer than the 32,767 parameters that one statement can have."""

import pytest

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.repositories.cluster.db_source import ClusterDBSource
from scheduler_repo.repositories.cluster.repository import ClusterRepository
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.workload.synthetic import DEFAULT_SCALING_GROUP, synthetic_queue

SESSIONS = 40_000


class TestLongQueue:
    @pytest.mark.slow
    async def test_forty_thousand_pending_sessions(
        self, engine: ExtendedAsyncSAEngine, db_source: SchedulerDBSource
    ) -> None:
        # given
        cluster = synthetic_queue(10, SESSIONS, SESSIONS)
        await ClusterRepository(ClusterDBSource(engine)).load_cluster(cluster)
        # when
        everything = (await db_source.get_scheduling_data(DEFAULT_SCALING_GROUP)).data
        most = (await db_source.get_scheduling_data(DEFAULT_SCALING_GROUP, SESSIONS - 1)).data
        # then
        expected = sorted(cluster.sessions, key=lambda one: (-one.priority, str(one.created_at)))
        assert [session.session_id for session in everything.pending_sessions] == [
            session.session_id for session in expected
        ]
        assert {len(session.kernels) for session in everything.pending_sessions} == {1}
        assert most.pending_sessions == everything.pending_sessions[:-1]
        assert most.agents == everything.agents
