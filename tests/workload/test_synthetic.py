"""Made-up clusters are whole, of exactly the size asked for, and the same for the same seed."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.errors import InvalidInput
from scheduler_repo.slots import slot_limits, slot_vector
from scheduler_repo.types import ClusterMode, OwnerScope, ScalingGroupName, SessionId
from scheduler_repo.workload.slot_types import CPU, CUDA_DEVICE, CUDA_SHARES, MEM
from scheduler_repo.workload.synthetic import QUEUE_START, synthetic_cluster, synthetic_queue

COUNTS = st.integers(0, 60)
SEEDS = st.integers(-(2**70), 2**70)


def assert_unique(ids: Iterable[Hashable]) -> None:
    listed = list(ids)
    assert len(set(listed)) == len(listed)


def assert_whole(cluster: ClusterSpec) -> None:
    """Every reference exists, ids are unique, and amounts can be stored."""
    groups = {group.name for group in cluster.scaling_groups}
    agent_ids = {agent.agent_id for agent in cluster.agents}
    project_domains = {project.project_id: project.domain_name for project in cluster.owners.projects}
    user_domains = {user.user_id: user.domain_name for user in cluster.owners.users}
    keypair_users = {keypair.access_key: keypair.user_id for keypair in cluster.owners.keypairs}
    policies = {policy.name for policy in cluster.owners.resource_policies}
    slot_names = [slot_type.name for slot_type in cluster.slot_types]

    assert_unique(agent.agent_id for agent in cluster.agents)
    assert_unique(cluster.owners.domains)
    assert_unique(project.project_id for project in cluster.owners.projects)
    assert_unique((project.domain_name, project.name) for project in cluster.owners.projects)
    assert_unique(user.user_id for user in cluster.owners.users)
    assert_unique((user.domain_name, user.name) for user in cluster.owners.users)
    assert_unique(keypair.access_key for keypair in cluster.owners.keypairs)
    assert_unique(policy.name for policy in cluster.owners.resource_policies)
    assert_unique((quota.scope, quota.owner_id) for quota in cluster.owners.quotas)
    assert_unique(session.session_id for session in cluster.sessions)
    assert_unique(kernel.kernel_id for session in cluster.sessions for kernel in session.kernels)

    assert {agent.scaling_group for agent in cluster.agents} <= groups
    assert {*project_domains.values(), *user_domains.values()} <= set(cluster.owners.domains)
    assert set(keypair_users.values()) <= set(user_domains)
    owner_ids: dict[OwnerScope, set[str]] = {
        OwnerScope.ACCESS_KEY: {str(key) for key in keypair_users},
        OwnerScope.USER: {str(user_id) for user_id in user_domains},
        OwnerScope.PROJECT: {str(project_id) for project_id in project_domains},
        OwnerScope.DOMAIN: {str(domain) for domain in cluster.owners.domains},
    }
    for quota in cluster.owners.quotas:
        assert quota.owner_id in owner_ids[quota.scope]
        assert quota.resource_policy is None or quota.resource_policy in policies
        slot_limits(quota.slot_limits, slot_names, quota.owner_id)
    for agent in cluster.agents:
        assert any(slot_vector(agent.capacity, slot_names, agent.agent_id))

    earlier: set[SessionId] = set()
    for session in cluster.sessions:
        assert session.scaling_group in groups
        assert keypair_users[session.access_key] == session.user_id
        assert user_domains[session.user_id] == project_domains[session.project_id] == session.domain_name
        assert set(session.designated_agent_ids) <= agent_ids
        assert_unique(session.designated_agent_ids)
        assert set(session.depends_on) <= earlier
        assert_unique(session.depends_on)
        assert session.kernels
        for kernel in session.kernels:
            assert any(slot_vector(kernel.requested_slots, slot_names, session.name))
        assert session.created_at is not None
        assert session.created_at >= QUEUE_START
        earlier.add(session.session_id)


class TestCluster:
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> ClusterSpec:
        return synthetic_cluster(agents=300, sessions=2_000, seed=11)

    @given(agents=COUNTS, sessions=COUNTS, seed=SEEDS)
    @settings(deadline=None)
    def test_it_is_whole_for_any_size_and_seed(self, agents: int, sessions: int, seed: int) -> None:
        # When
        cluster = synthetic_cluster(agents, sessions, seed)

        # Then
        assert (len(cluster.agents), len(cluster.sessions)) == (agents, sessions)
        assert_whole(cluster)

    @given(agents=COUNTS, sessions=COUNTS, seed=SEEDS)
    @settings(deadline=None)
    def test_the_same_seed_makes_the_same(self, agents: int, sessions: int, seed: int) -> None:
        assert synthetic_cluster(agents, sessions, seed) == synthetic_cluster(agents, sessions, seed)

    def test_another_seed_makes_another(self) -> None:
        assert synthetic_cluster(10, 10, seed=1).sessions != synthetic_cluster(10, 10, seed=2).sessions

    def test_two_groups_share_no_name_or_id(self) -> None:
        # Given
        def identities(name: str) -> set[Hashable]:
            cluster = synthetic_cluster(20, 50, seed=1, scaling_group=ScalingGroupName(name))
            return {
                *cluster.owners.domains,
                *(agent.agent_id for agent in cluster.agents),
                *(project.project_id for project in cluster.owners.projects),
                *(user.user_id for user in cluster.owners.users),
                *(keypair.access_key for keypair in cluster.owners.keypairs),
                *(policy.name for policy in cluster.owners.resource_policies),
                *(session.session_id for session in cluster.sessions),
                *(kernel.kernel_id for session in cluster.sessions for kernel in session.kernels),
            }

        # Then
        assert not identities("left") & identities("right")

    def test_its_agents_are_mixed(self, cluster: ClusterSpec) -> None:
        # Then
        gpus = {
            (agent.capacity.get(CUDA_DEVICE, 0), agent.capacity.get(CUDA_SHARES, 0)) for agent in cluster.agents
        }
        assert gpus == {(0, 0), (4, 0), (8, 0), (0, 4_000), (0, 8_000)}
        assert len({agent.architecture for agent in cluster.agents}) == 2
        assert {agent.max_containers for agent in cluster.agents} == {None, 32}

    def test_its_sessions_use_every_feature(self, cluster: ClusterSpec) -> None:
        # Then
        sessions = cluster.sessions
        assert {len(session.kernels) for session in sessions} == {1, 2, 4, 8}
        assert {session.cluster_mode for session in sessions if len(session.kernels) > 1} == set(ClusterMode)
        assert len({session.priority for session in sessions}) == 4
        assert len({session.access_key for session in sessions}) > 100
        assert any(session.depends_on for session in sessions)
        assert any(session.designated_agent_ids for session in sessions)
        starts = [session.requested_start_at for session in sessions if session.requested_start_at is not None]
        assert {start.year >= 2100 for start in starts} == {True, False}
        assert len({kernel.architecture for session in sessions for kernel in session.kernels}) == 3

    def test_its_limits_cover_all_scopes_one_of_them_zero(self, cluster: ClusterSpec) -> None:
        # Given
        def is_zero(quota: QuotaSpec) -> bool:
            return bool(quota.slot_limits) and not any(quota.slot_limits.values())

        # Then
        assert {quota.scope for quota in cluster.owners.quotas} == set(OwnerScope)
        (blocked,) = (quota for quota in cluster.owners.quotas if is_zero(quota))
        assert blocked.owner_id in {session.access_key for session in cluster.sessions}
        assert len({policy.max_concurrent_sessions for policy in cluster.owners.resource_policies}) == 3

    @pytest.mark.parametrize(
        ("counts", "named"),
        [
            ((-1, 0, 1), "agents must be a whole number from 0 to 100000, found -1"),
            ((100_001, 0, 1), "agents must be"),
            ((0, -1, 1), "sessions must be"),
            ((0, 1_000_001, 1), "sessions must be"),
            ((1.5, 0, 1), "agents must be"),
            ((True, 0, 1), "agents must be"),
            ((0, 0, None), "seed must be"),
        ],
    )
    def test_counts_that_make_no_sense_are_refused(self, counts: Sequence[object], named: str) -> None:
        make = cast(Callable[..., ClusterSpec], synthetic_cluster)
        with pytest.raises(InvalidInput, match=named):
            make(*counts)


class TestQueue:
    @pytest.fixture(scope="class")
    @classmethod
    def queue(cls) -> ClusterSpec:
        return synthetic_queue()

    def test_it_has_the_size_of_the_benchmark(self, queue: ClusterSpec) -> None:
        # Then
        kernels = [kernel for session in queue.sessions for kernel in session.kernels]
        assert (len(queue.agents), len(queue.sessions), len(kernels)) == (1_000, 10_000, 16_000)
        assert {frozenset(kernel.requested_slots) for kernel in kernels} == {frozenset((CPU, MEM, CUDA_SHARES))}

    def test_it_fits_the_agents(self, queue: ClusterSpec) -> None:
        for slot in (CPU, MEM, CUDA_SHARES):
            asked = sum(
                kernel.requested_slots[slot] for session in queue.sessions for kernel in session.kernels
            )
            assert asked <= sum(agent.capacity[slot] for agent in queue.agents)

    def test_nothing_holds_a_session_back(self, queue: ClusterSpec) -> None:
        for session in queue.sessions:
            assert not session.depends_on
            assert not session.designated_agent_ids
            assert session.requested_start_at is None

    @given(agents=COUNTS, sessions=st.integers(1, 40), more=COUNTS, seed=SEEDS)
    @settings(deadline=None)
    def test_it_is_whole_and_of_the_size_asked(self, agents: int, sessions: int, more: int, seed: int) -> None:
        # When
        queue = synthetic_queue(agents, sessions, sessions + more, seed)

        # Then
        assert (len(queue.agents), len(queue.sessions)) == (agents, sessions)
        assert sum(len(session.kernels) for session in queue.sessions) == sessions + more
        assert_whole(queue)

    def test_it_may_be_empty(self) -> None:
        # When
        queue = synthetic_queue(agents=0, sessions=0, kernels=0)

        # Then
        assert (queue.agents, queue.sessions) == ((), ())

    def test_the_same_seed_makes_the_same(self) -> None:
        assert synthetic_queue(5, 50, 80, seed=3) == synthetic_queue(5, 50, 80, seed=3)
        assert synthetic_queue(5, 50, 80, seed=3) != synthetic_queue(5, 50, 80, seed=4)

    @pytest.mark.parametrize(
        ("counts", "named"),
        [
            ((-1, 1, 1), "agents must be"),
            ((1, 2, 1), "kernels must be a whole number from 2 to 2000000, found 1"),
            ((1, 0, 1), "kernels must be a whole number from 0 to 0, found 1"),
            ((1, 1, 2_000_001), "kernels must be"),
        ],
    )
    def test_counts_that_make_no_sense_are_refused(self, counts: tuple[int, int, int], named: str) -> None:
        with pytest.raises(InvalidInput, match=named):
            synthetic_queue(*counts)
