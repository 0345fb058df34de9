"""What a plan may and must do, checked against a naive replay of the queue."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.sides.plain_plan import plan_plainly
from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulableAgent, SchedulingData
from scheduler_repo.errors import InvalidInput
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.scheduling.planner.protocol import Planner
from scheduler_repo.types import AgentId, ClusterMode, SessionId
from tests.support.naive_cluster import NaiveCluster, are_alike, groups_of
from tests.support.strategies import (
    ACCESS_KEYS,
    ARM,
    X86,
    make_agent,
    make_data,
    make_session,
    make_usage,
    reserved_scheduling_data,
    scheduling_data,
)


def placed(data: SchedulingData) -> dict[SessionId, list[str]]:
    plan = BestFitPlanner().plan(data)
    return {each.session_id: [kernel.agent_id for kernel in each.kernels] for each in plan}


def numbers(data: SchedulingData) -> list[int]:
    """The placed sessions by the number they were made with."""
    return [session_id.int for session_id in placed(data)]


class TestEveryPlan:
    """Properties of any plan on any small cluster."""

    @given(scheduling_data())
    @settings(deadline=None)
    def test_replays_on_a_naive_cluster(self, data: SchedulingData) -> None:
        """Each placed session fits at its turn; each other one is held back or fits nowhere at its turn.

        For kernels that differ and may be spread, the second half is not promised, so it is not checked.
        """
        plan = {allocation.session_id: allocation for allocation in BestFitPlanner().plan(data)}
        cluster = NaiveCluster(data)
        for session in data.pending_sessions:
            allocation = plan.pop(session.session_id, None)
            if allocation is not None:
                self._replay(cluster, session, allocation)
            elif not cluster.is_held_back(session) and are_alike(session):
                assert not cluster.has_joint_placement(session)
        assert not plan

    @given(scheduling_data())
    @settings(deadline=None)
    def test_is_in_queue_order_and_the_same_again(self, data: SchedulingData) -> None:
        queue = [session.session_id for session in data.pending_sessions]
        plan = BestFitPlanner().plan(data)
        order = [queue.index(allocation.session_id) for allocation in plan]
        assert order == sorted(set(order))
        assert BestFitPlanner().plan(data) == plan

    @given(scheduling_data(), st.integers(0, 4))
    @settings(deadline=None)
    def test_ends_after_max_allocations(self, data: SchedulingData, most: int) -> None:
        assert BestFitPlanner(most).plan(data) == BestFitPlanner().plan(data)[:most]

    @given(reserved_scheduling_data() | scheduling_data())
    @settings(deadline=None)
    def test_is_the_plan_of_a_planner_that_remembers_nothing(self, data: SchedulingData) -> None:
        assert BestFitPlanner().plan(data) == tuple(plan_plainly(data))

    def _replay(self, cluster: NaiveCluster, session: PendingSession, allocation: SessionAllocation) -> None:
        assert not cluster.is_held_back(session)
        assert [kernel.kernel_id for kernel in allocation.kernels] == [k.kernel_id for k in session.kernels]
        agent_of = {kernel.kernel_id: kernel.agent_id for kernel in allocation.kernels}
        for group in groups_of(session):
            (agent_id,) = {agent_of[kernel.kernel_id] for kernel in group}
            assert agent_id in [agent.agent_id for agent in cluster.fitting(session, group)]
            cluster.add(agent_id, group)
        cluster.charge(session)


class TestQueue:
    """Who goes first, and who is passed over."""

    def test_a_session_that_fits_nowhere_blocks_none_behind_it(self) -> None:
        # given
        agents = (make_agent("a", (4, 4, 0)),)
        sessions = (make_session(1, (9, 0, 0)), make_session(2, (4, 4, 0)), make_session(3, (1, 0, 0)))
        # when / then
        assert numbers(make_data(agents, sessions)) == [2]

    def test_the_first_in_the_queue_gets_the_last_place(self) -> None:
        agents = (make_agent("a", (4, 4, 0)),)
        sessions = (make_session(1, (3, 0, 0)), make_session(2, (4, 0, 0)))
        assert numbers(make_data(agents, sessions)) == [1]

    def test_what_failed_beside_kernels_that_were_taken_back_is_tried_again(self) -> None:
        # given: the second kernel fails only because the first has taken its place
        agents = (make_agent("a", (4, 4, 0)),)
        pair = make_session(1, (4, 0, 0), (3, 0, 0), cluster_mode=ClusterMode.MULTI_NODE)
        # when / then
        assert numbers(make_data(agents, (pair, make_session(2, (3, 0, 0)), make_session(3, (1, 0, 0))))) == [
            2,
            3,
        ]

    def test_what_several_kernels_took_of_one_agent_is_given_back(self) -> None:
        # given: two of the kernels find a place on the agent, the third does not
        agents = (make_agent("a", (4, 4, 0)),)
        three = make_session(1, *[(2, 2, 0)] * 3, cluster_mode=ClusterMode.MULTI_NODE)
        # when / then
        assert numbers(make_data(agents, (three, make_session(2, (4, 4, 0))))) == [2]

    def test_quota_used_within_the_plan_counts(self) -> None:
        # given
        agents = (make_agent("a", (9, 9, 9)),)
        sessions = tuple(make_session(number, (2, 0, 0)) for number in (1, 2, 3))
        # when
        data = make_data(agents, sessions, access_keys=(make_usage(ACCESS_KEYS[0], slot_limits=(5,)),))
        # then
        assert numbers(data) == [1, 2]

    def test_session_count_within_the_plan_counts(self) -> None:
        agents = (make_agent("a", (9, 9, 9)),)
        sessions = tuple(make_session(number, (2, 0, 0)) for number in (1, 2, 3))
        usage = make_usage(ACCESS_KEYS[0], session_count=1, max_concurrent_sessions=2)
        assert numbers(make_data(agents, sessions, access_keys=(usage,))) == [1]

    def test_an_inactive_group_places_nothing(self) -> None:
        data = make_data((make_agent("a", (9, 9, 9)),), (make_session(1, (1, 0, 0)),), is_active=False)
        assert numbers(data) == []


class TestChoiceOfAgent:
    """Where a session goes if several agents could take it."""

    def test_without_gpu_off_the_gpu_agents(self) -> None:
        agents = make_agent("a", (4, 4, 4)), make_agent("b", (9, 9, 0))
        data = make_data(agents, (make_session(1, (4, 4, 0)), make_session(2, (0, 0, 4))))
        assert placed(data) == {
            data.pending_sessions[0].session_id: ["b"],
            data.pending_sessions[1].session_id: ["a"],
        }

    def test_onto_gpu_agents_if_there_is_no_other(self) -> None:
        data = make_data((make_agent("a", (4, 4, 4)),), (make_session(1, (4, 4, 0)),))
        assert list(placed(data).values()) == [["a"]]

    def test_the_fullest_that_fits(self) -> None:
        agents = (
            make_agent("a", (8, 8, 8)),
            make_agent("b", (8, 8, 8), (4, 4, 4)),
            make_agent("c", (8, 8, 8), (7, 7, 7)),
        )
        data = make_data(agents, (make_session(1, (2, 2, 2)),))
        assert list(placed(data).values()) == [["b"]]

    @pytest.mark.parametrize(("cores", "gpus_used", "expected"), [(0, 3, "poor"), (4, 4, "rich")])
    def test_gpus_that_lack_cores_serve_what_needs_none(
        self, cores: int, gpus_used: int, expected: str
    ) -> None:
        # given: the tighter fit by GPUs alone is the other agent, in both cases
        agents = (
            make_agent("poor", (16, 16, 8), (12, 12, gpus_used)),
            make_agent("rich", (16, 16, 8), (0, 0, 4)),
        )
        # when
        data = make_data(agents, (make_session(1, (cores, cores, 1)),))
        # then
        assert list(placed(data).values()) == [[expected]]

    def test_a_free_agent_of_another_architecture_does_not_do(self) -> None:
        agents = make_agent("a", (9, 9, 9), architecture=ARM), make_agent("b", (2, 2, 2), architecture=X86)
        data = make_data(agents, (make_session(1, (1, 1, 1), architectures=(X86,)),))
        assert list(placed(data).values()) == [["b"]]

    def test_a_designated_agent_before_a_better_one(self) -> None:
        agents = make_agent("a", (2, 2, 2)), make_agent("b", (9, 9, 9))
        data = make_data(agents, (make_session(1, (2, 2, 2), designated=(AgentId("b"),)),))
        assert list(placed(data).values()) == [["b"]]

    def test_the_fullest_of_the_designated_agents(self) -> None:
        agents = make_agent("a", (9, 9, 9)), make_agent("b", (9, 9, 9), (7, 7, 7)), make_agent("c", (2, 2, 2))
        session = make_session(1, (2, 2, 2), designated=(AgentId("a"), AgentId("b")))
        assert list(placed(make_data(agents, (session,))).values()) == [["b"]]

    def test_kernels_of_a_session_spread_if_they_may(self) -> None:
        agents = make_agent("a", (2, 2, 2)), make_agent("b", (2, 2, 2))
        kernels = (2, 2, 2), (2, 2, 2)
        together, apart = (
            make_session(1, *kernels),
            make_session(2, *kernels, cluster_mode=ClusterMode.MULTI_NODE),
        )
        assert list(placed(make_data(agents, (together, apart))).items()) == [(apart.session_id, ["a", "b"])]

    def test_the_largest_kernel_first(self) -> None:
        # given: the small kernel, placed first, would take the only place of the large one
        agents = make_agent("a", (3, 3, 3)), make_agent("b", (2, 2, 2), architecture=ARM)
        session = make_session(1, (2, 2, 2), (3, 3, 3), cluster_mode=ClusterMode.MULTI_NODE)
        # when / then
        assert list(placed(make_data(agents, (session,))).values()) == [["b", "a"]]

    def test_an_agent_over_its_capacity_takes_what_asks_for_nothing_of_it(self) -> None:
        data = make_data((make_agent("a", (2, 2, 2), (3, 0, 0)),), (make_session(1, (0, 2, 2)),))
        assert list(placed(data).values()) == [["a"]]


class TestArguments:
    def test_best_fit_is_a_planner(self) -> None:
        planner: Planner = BestFitPlanner()
        assert planner.plan(make_data()) == ()

    def test_a_negative_bound_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="max_allocations: -1 is negative"):
            BestFitPlanner(-1)

    def test_an_owner_that_was_not_read_is_refused(self) -> None:
        data = make_data(
            (make_agent("a", (2, 2, 2)),),
            (make_session(1, (1, 1, 1)),),
            access_keys=(make_usage(ACCESS_KEYS[1]),),
        )
        with pytest.raises(InvalidInput, match="ACCESS_KEY key-a is not in the scheduling data"):
            BestFitPlanner().plan(data)


class TestFailedAgents:
    def test_another_agent_is_tried_first_and_the_same_again_if_there_is_none(self) -> None:
        # given a session that failed on the agent where it fits best
        best, other = make_agent("a1", (4, 4, 4)), make_agent("a2", (8, 8, 8))
        session = make_session(1, (2, 0, 0))
        retried = msgspec.structs.replace(session, retry_count=1, failed_agent_ids=(best.agent_id,))

        def placed(pending: PendingSession, *agents: SchedulableAgent) -> list[AgentId]:
            (allocation,) = BestFitPlanner().plan(make_data(agents, (pending,)))
            return [kernel.agent_id for kernel in allocation.kernels]

        # when it is planned, then it goes elsewhere
        assert placed(session, best, other) == [best.agent_id]
        assert placed(retried, best, other) == [other.agent_id]
        # and back to the same one if nothing else takes it
        assert placed(retried, best) == [best.agent_id]
        full = msgspec.structs.replace(other, occupied=other.capacity)
        assert placed(retried, best, full) == [best.agent_id]
        # nor beyond the agents that it designates
        designated = msgspec.structs.replace(retried, designated_agent_ids=(best.agent_id,))
        assert placed(designated, best, other) == [best.agent_id]
