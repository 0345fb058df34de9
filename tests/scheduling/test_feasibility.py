"""The predicate's cases, one by one, and against plain arithmetic."""

from datetime import timedelta
from typing import Optional
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler_repo.entities.obstacles import (
    AgentObstacle,
    ArchitectureMismatch,
    ContainerShortage,
    NotDesignated,
    QuotaBreach,
    QuotaKind,
    SlotShortage,
    StartNotReached,
)
from scheduler_repo.entities.scheduling_data import SessionDependency
from scheduler_repo.scheduling.rules.feasibility import (
    Load,
    NodeRequest,
    agent_obstacle,
    container_shortage,
    free_slots,
    limit_breach,
    node_requests,
    slot_limit_breach,
    slot_shortage,
    start_not_reached,
    total_slots,
    unknown_slot,
    unmet_dependency,
)
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotLimits,
    SlotVector,
)
from tests.support.strategies import ARM, OBSERVED_AT, X86, make_agent, make_session

short_vectors = st.lists(st.integers(0, 3), max_size=4).map(tuple)
free_vectors = st.lists(st.integers(-1, 3), max_size=4).map(tuple)


class TestSlots:
    @pytest.mark.parametrize(
        ("requested", "free", "expected"),
        [
            pytest.param((2, 2), (2, 2), None, id="exactly"),
            pytest.param((2, 3), (2, 2), SlotShortage(1, 3, 2), id="one too many"),
            pytest.param((3, 3), (2, 2), SlotShortage(0, 3, 2), id="the first is named"),
            pytest.param((0, 0, 0), (), None, id="nothing of slots that the agent lacks"),
            pytest.param((0, 1), (-5, 1), None, id="nothing of a slot that is over its capacity"),
            pytest.param((1, 1), (-5, 1), SlotShortage(0, 1, -5), id="something of it"),
            pytest.param((1,), (1, 7), None, id="a shorter request"),
            pytest.param((1, 0, 0), (1,), None, id="a longer request, with nothing beyond"),
            pytest.param((1, 0, 4), (1,), SlotShortage(2, 4, 0), id="a longer request, with something beyond"),
        ],
    )
    def test_cases(self, requested: SlotVector, free: SlotVector, expected: Optional[SlotShortage]) -> None:
        assert slot_shortage(requested, free) == expected

    @given(short_vectors, free_vectors)
    def test_against_arithmetic(self, requested: SlotVector, free: SlotVector) -> None:
        available = dict(enumerate(free))
        short = [(i, r, available.get(i, 0)) for i, r in enumerate(requested) if r and r > available.get(i, 0)]
        expected = SlotShortage(*short[0]) if short else None
        assert slot_shortage(requested, free) == expected

    def test_only_amounts_of_unknown_slots_are_unknown(self) -> None:
        assert unknown_slot((9, 0, 1, 0), frozenset({0, 2})) is None
        assert unknown_slot((9, 5, 1), frozenset({0, 2})) == SlotShortage(1, 5, 0)

    def test_vectors_of_unequal_length_add_and_subtract(self) -> None:
        assert total_slots([(1, 2), (3,), (0, 0, 5)]) == (4, 2, 5)
        assert total_slots([]) == ()
        assert free_slots((4, 4), (1,)) == (3, 4)
        assert free_slots((4,), (5, 1)) == (-1, -1)


class TestContainers:
    @pytest.mark.parametrize(
        ("count", "running", "most", "expected"),
        [
            (2, 3, 5, None),
            (3, 3, 5, ContainerShortage(requested=3, used=3, limit=5)),
            (1, 99, None, None),
            (1, 0, 0, ContainerShortage(requested=1, used=0, limit=0)),
            (0, 6, 5, None),
        ],
    )
    def test_cases(
        self, count: int, running: int, most: Optional[int], expected: Optional[ContainerShortage]
    ) -> None:
        assert container_shortage(count, running, most) == expected


class TestAgent:
    @pytest.mark.parametrize(
        ("request_", "designated", "expected"),
        [
            pytest.param(NodeRequest((2, 2), 1, ()), (), None, id="any architecture"),
            pytest.param(NodeRequest((2, 2), 1, (X86,)), ("a",), None, id="this one"),
            pytest.param(
                NodeRequest((9, 9), 9, (ARM,)),
                ("b",),
                NotDesignated(AgentId("a"), (AgentId("b"),)),
                id="designation",
            ),
            pytest.param(
                NodeRequest((9, 9), 9, (ARM,)), (), ArchitectureMismatch(ARM, X86), id="then architecture"
            ),
            pytest.param(
                NodeRequest((1, 1), 1, (ARM, X86)), (), ArchitectureMismatch(ARM, X86), id="two architectures"
            ),
            pytest.param(NodeRequest((9, 9), 9, (X86,)), (), ContainerShortage(9, 1, 4), id="then containers"),
            pytest.param(NodeRequest((2, 9), 1, ()), (), SlotShortage(1, 9, 2), id="then slots"),
        ],
    )
    def test_the_first_obstacle_is_named(
        self, request_: NodeRequest, designated: tuple[AgentId, ...], expected: Optional[AgentObstacle]
    ) -> None:
        agent = make_agent("a", (3, 2), occupied=(1, 0), running=0, max_containers=4)
        obstacle = agent_obstacle(request_, designated, agent, Load((0, 0), 1))
        assert obstacle == expected


class TestNodeRequests:
    def test_one_node_gets_the_sum(self) -> None:
        session = make_session(1, (1, 2), (3,), (0, 1, 4), architectures=(X86, None, ARM))
        assert node_requests(ClusterMode.SINGLE_NODE, session.kernels) == (
            NodeRequest((4, 3, 4), 3, (ARM, X86)),
        )

    def test_several_nodes_get_a_kernel_each(self) -> None:
        session = make_session(1, (1, 2), (3,), architectures=(X86, None))
        expected = NodeRequest((1, 2), 1, (X86,)), NodeRequest((3,), 1, ())
        assert node_requests(ClusterMode.MULTI_NODE, session.kernels) == expected

    @pytest.mark.parametrize("cluster_mode", ClusterMode)
    def test_no_kernels_ask_for_nothing(self, cluster_mode: ClusterMode) -> None:
        assert node_requests(cluster_mode, ()) == ()


class TestQuota:
    @pytest.mark.parametrize(
        ("requested", "occupied", "limits", "expected"),
        [
            pytest.param((2, 9), (3, 9), (5, None), None, id="up to the limit"),
            pytest.param((3, 9), (3, 9), (5, None), (0, 3, 3, 5), id="above it"),
            pytest.param((0, 1), (1, 0), (0, 0), (1, 0, 1, 0), id="0 is a limit"),
            pytest.param((0, 0), (7, 7), (5, 5), None, id="nothing more, where it is passed already"),
            pytest.param((9, 9), (0, 0), (), None, id="missing is none"),
            pytest.param((0, 0, 2), (1,), (1, 1, 1), (2, 0, 2, 1), id="occupied is shorter"),
        ],
    )
    def test_slots(
        self,
        requested: SlotVector,
        occupied: SlotVector,
        limits: SlotLimits,
        expected: Optional[tuple[int, int, int, int]],
    ) -> None:
        breach = slot_limit_breach(requested, occupied, limits)
        assert breach == (None if expected is None else QuotaBreach(QuotaKind.SLOT, *expected))

    @pytest.mark.parametrize(
        ("count", "most", "fits"), [(0, 1, True), (1, 1, False), (0, 0, False), (9, None, True)]
    )
    def test_sessions(self, count: int, most: Optional[int], fits: bool) -> None:
        expected = (
            None if fits or most is None else QuotaBreach(QuotaKind.CONCURRENT_SESSIONS, None, count, 1, most)
        )
        assert limit_breach(QuotaKind.CONCURRENT_SESSIONS, None, count, 1, most) == expected

    @pytest.mark.parametrize(
        ("count", "most", "fits"), [(1, 1, True), (2, 1, False), (1, 0, False), (9, None, True)]
    )
    def test_kernels(self, count: int, most: Optional[int], fits: bool) -> None:
        expected = (
            None if fits or most is None else QuotaBreach(QuotaKind.KERNELS_PER_SESSION, None, 0, count, most)
        )
        assert limit_breach(QuotaKind.KERNELS_PER_SESSION, None, 0, count, most) == expected


def dependency(
    number: int, status: Optional[SessionStatus], result: Optional[SessionResult] = None
) -> SessionDependency:
    return SessionDependency(SessionId(UUID(int=number)), status, result)


class TestDependencies:
    met = dependency(1, SessionStatus.TERMINATED, SessionResult.SUCCESS)
    running = dependency(2, SessionStatus.RUNNING)

    def test_all_met(self) -> None:
        assert unmet_dependency(()) is None
        assert unmet_dependency((self.met,)) is None

    def test_the_first_unmet_is_named(self) -> None:
        assert unmet_dependency((self.met, self.running, dependency(3, SessionStatus.PENDING))) == self.running

    @pytest.mark.parametrize(
        "hopeless",
        [
            dependency(3, None),
            dependency(3, SessionStatus.TERMINATED, SessionResult.FAILURE),
            dependency(3, SessionStatus.TERMINATED),
            dependency(3, SessionStatus.CANCELLED, SessionResult.SUCCESS),
            dependency(3, SessionStatus.ERROR),
        ],
    )
    def test_one_that_can_never_be_met_goes_before(self, hopeless: SessionDependency) -> None:
        assert unmet_dependency((self.running, hopeless)) == hopeless


class TestStart:
    def test_equal_is_reached(self) -> None:
        assert start_not_reached(None, OBSERVED_AT) is None
        assert start_not_reached(OBSERVED_AT, OBSERVED_AT) is None

    def test_later_is_not(self) -> None:
        later = OBSERVED_AT + timedelta(microseconds=1)
        assert start_not_reached(later, OBSERVED_AT) == StartNotReached(later, OBSERVED_AT)
