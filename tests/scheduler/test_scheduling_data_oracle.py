"""SchedulingData is what a naive oracle says, on random clusters."""

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from scheduler_repo.errors import InvalidInput, ScalingGroupNotFound
from scheduler_repo.repositories.scheduler.db_source import SchedulerDBSource
from scheduler_repo.scheduling.snapshot.encoding import decode_scheduling_data, encode_scheduling_data
from scheduler_repo.steps import finish
from scheduler_repo.types import ScalingGroupName
from tests.scheduler.cluster_strategies import GROUPS, clusters
from tests.support.cluster_rows import ClusterRows, fill
from tests.support.databases import DriverConnection
from tests.support.oracle import as_naive, naive_scheduling_data

NO_SUCH_GROUP = ScalingGroupName("gPu")

# Each example empties the database, which all of them share.
on_one_database = settings(
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)


class TestAgainstTheOracle:
    @on_one_database
    @given(cluster=clusters())
    async def test_whole_answer_of_every_group(
        self, db_source: SchedulerDBSource, owner_connection: DriverConnection, cluster: ClusterRows
    ) -> None:
        # given
        await fill(owner_connection, cluster)
        for group in GROUPS:
            # when
            data = (await db_source.get_scheduling_data(ScalingGroupName(group))).data
            # then
            naive = await naive_scheduling_data(owner_connection, group)
            assert naive is not None
            assert data == as_naive(data, naive)
            event(f"pending sessions: {min(len(data.pending_sessions), 3)}")
            event(f"agents: {min(len(data.agents), 2)}")
            event(f"reservations: {min(len(data.reservations), 2)}")
            event(f"reserved on agents: {any(agent.reserved_containers for agent in data.agents)}")
            event(f"preemption candidates: {min(len(data.preemption_candidates), 2)}")

    @on_one_database
    @given(cluster=clusters())
    async def test_every_pending_limit(
        self, db_source: SchedulerDBSource, owner_connection: DriverConnection, cluster: ClusterRows
    ) -> None:
        # given
        await fill(owner_connection, cluster)
        group = GROUPS[0]
        everything = await naive_scheduling_data(owner_connection, group)
        assert everything is not None
        for limit in range(1, len(everything.pending_sessions) + 2):
            # when
            data = (await db_source.get_scheduling_data(ScalingGroupName(group), limit)).data
            # then
            naive = await naive_scheduling_data(owner_connection, group, limit)
            assert naive is not None
            assert data == as_naive(data, naive)

    @on_one_database
    @given(cluster=clusters(), group=st.sampled_from(GROUPS))
    async def test_answer_survives_encoding(
        self,
        db_source: SchedulerDBSource,
        owner_connection: DriverConnection,
        cluster: ClusterRows,
        group: str,
    ) -> None:
        # given
        await fill(owner_connection, cluster)
        data = (await db_source.get_scheduling_data(ScalingGroupName(group))).data
        # when / then
        assert finish(decode_scheduling_data(finish(encode_scheduling_data(data)))) == data


class TestRefusals:
    @pytest.mark.parametrize("pending_limit", [None, 1])
    async def test_group_that_does_not_exist(
        self, db_source: SchedulerDBSource, owner_connection: DriverConnection, pending_limit: int
    ) -> None:
        # given
        await owner_connection.execute("INSERT INTO scaling_groups (name) VALUES ('gpu')")
        # when / then
        with pytest.raises(ScalingGroupNotFound, match="gPu"):
            await db_source.get_scheduling_data(NO_SUCH_GROUP, pending_limit)
        assert await naive_scheduling_data(owner_connection, NO_SUCH_GROUP) is None

    @pytest.mark.parametrize("pending_limit", [0, -1, 2**31])
    async def test_limit_that_is_none(self, db_source: SchedulerDBSource, pending_limit: int) -> None:
        # when / then
        with pytest.raises(InvalidInput, match=str(pending_limit)):
            await db_source.get_scheduling_data(NO_SUCH_GROUP, pending_limit)
