"""Every reason for waiting is true, and the first that is: checked against a naive oracle."""

from datetime import timedelta
from typing import Optional
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings

from scheduler_repo.entities.obstacles import OwnerBreach, SlotShortage, StartNotReached
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData, SessionDependency
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.scheduling.explain.reasons import (
    ArchitectureUnavailable,
    DesignatedUnavailable,
    GroupInactive,
    JointShortage,
    NodeShortage,
    PossiblePlacement,
    UnmetDependency,
    WaitingReason,
    WaitingSession,
    waiting_reasons,
)
from scheduler_repo.scheduling.explain.text import describe
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import (
    AgentId,
    Architecture,
    ClusterMode,
    SessionId,
    SessionResult,
    SessionStatus,
)
from tests.scheduling.waiting_oracle import Oracle, is_hopeless, is_met
from tests.support.naive_cluster import KernelGroup, are_alike, groups_of, slot
from tests.support.strategies import (
    ACCESS_KEYS,
    ARM,
    OBSERVED_AT,
    PROJECTS,
    make_agent,
    make_data,
    make_session,
    make_usage,
    scheduling_data,
)


class TestEveryReason:
    @given(scheduling_data())
    @settings(deadline=None)
    def test_is_true_and_the_first(self, data: SchedulingData) -> None:
        """Each session is judged alone against the oracle, its detail figure by figure.

        That a joint placement exists is tried in every way; only where kernels differ may it have been missed,
        and then the detail does not claim proof.
        """
        found = waiting_reasons(data)
        assert [waiting.session_id for waiting in found] == [s.session_id for s in data.pending_sessions]
        for session, waiting in zip(data.pending_sessions, found, strict=True):
            oracle = Oracle(data, session)
            expected = oracle.first_reason()
            if expected is not None:
                assert waiting.reason is expected
            elif waiting.reason is WaitingReason.KERNELS_DO_NOT_FIT_TOGETHER:
                assert isinstance(waiting.detail, JointShortage)
                assert waiting.detail.is_proven == are_alike(session)
                assert not (waiting.detail.is_proven and oracle.cluster.has_joint_placement(session))
            else:
                assert waiting.reason is WaitingReason.PLACEABLE
            self._check_detail(oracle, session, waiting)

    @given(scheduling_data())
    @settings(deadline=None)
    def test_placeable_is_what_a_plan_would_place_alone(self, data: SchedulingData) -> None:
        for session, waiting in zip(data.pending_sessions, waiting_reasons(data), strict=True):
            alone = msgspec.structs.replace(data, pending_sessions=(session,))
            # A session's agent may differ with the queue behind it, but not whether it finds one, save where
            # kernels that differ are placed together.
            if are_alike(session):
                is_placed = bool(BestFitPlanner().plan(alone))
                assert is_placed == (waiting.reason is WaitingReason.PLACEABLE)

    @given(scheduling_data())
    @settings(deadline=None)
    def test_has_a_text_of_one_line_and_survives_encoding(self, data: SchedulingData) -> None:
        for waiting in waiting_reasons(data):
            text = describe(waiting, data)
            assert text
            assert text.isprintable()
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(waiting), type=WaitingSession) == waiting

    def _check_detail(self, oracle: Oracle, session: PendingSession, waiting: WaitingSession) -> None:
        detail = waiting.detail
        match detail:
            case None:
                assert waiting.reason in (WaitingReason.NO_KERNELS, WaitingReason.NO_AGENT)
            case GroupInactive():
                assert detail.scaling_group == oracle.data.scaling_group.name
            case SlotShortage():
                (kernel,) = self._kernels(session, waiting)
                assert detail.slot_index == 3
                assert detail.requested == kernel.requested_slots[3] > detail.available == 0
            case StartNotReached():
                assert detail.requested_start_at == session.requested_start_at
                assert detail.requested_start_at > detail.observed_at == OBSERVED_AT
            case UnmetDependency():
                dependency = SessionDependency(detail.depends_on, detail.status, detail.result)
                assert dependency in session.dependencies
                assert not is_met(dependency)
                assert is_hopeless(dependency) == (waiting.reason is WaitingReason.DEPENDENCY_CANNOT_BE_MET)
            case OwnerBreach():
                self._check_breach(oracle, session, waiting.reason, detail)
            case DesignatedUnavailable():
                assert detail.designated_agent_ids == session.designated_agent_ids
            case ArchitectureUnavailable():
                kernels = self._kernels(session, waiting)
                assert detail.requested == tuple(sorted({k.architecture for k in kernels if k.architecture}))
                among = oracle.cluster.eligible(session, ())
                assert detail.available == tuple(sorted({agent.architecture for agent in among}))
            case NodeShortage():
                self._check_shortage(oracle, session, waiting, detail)
            case JointShortage():
                assert session.cluster_mode is ClusterMode.MULTI_NODE
                assert 0 < detail.placed_count < detail.kernel_count == len(session.kernels)
            case PossiblePlacement():
                agent_of = {kernel.kernel_id: kernel.agent_id for kernel in detail.kernels}
                for group in groups_of(session):
                    (agent_id,) = {agent_of[kernel.kernel_id] for kernel in group}
                    assert agent_id in [agent.agent_id for agent in oracle.cluster.fitting(session, group)]
                    oracle.cluster.add(agent_id, group)

    def _kernels(self, session: PendingSession, waiting: WaitingSession) -> KernelGroup:
        """The kernels that a reason is about."""
        if waiting.kernel_index is None:
            return session.kernels
        return [kernel for kernel in session.kernels if kernel.kernel_index == waiting.kernel_index]

    def _check_breach(
        self, oracle: Oracle, session: PendingSession, reason: WaitingReason, detail: OwnerBreach
    ) -> None:
        breach = detail.breach
        (owner,) = [o for o in oracle.owners if (o.scope, o.owner_id) == (detail.scope.value, detail.owner_id)]
        figures = breach.used, breach.requested, breach.limit
        if reason is WaitingReason.TOO_MANY_KERNELS:
            assert figures == (0, len(session.kernels), owner.max_kernels)
        elif reason is WaitingReason.SESSION_QUOTA:
            assert figures == (owner.session_count, 1, owner.max_sessions)
        else:
            assert breach.slot_index is not None
            assert figures == owner.slots_above_limit(session)[breach.slot_index]
        assert breach.used + breach.requested > breach.limit

    def _check_shortage(
        self, oracle: Oracle, session: PendingSession, waiting: WaitingSession, detail: NodeShortage
    ) -> None:
        kernels = self._kernels(session, waiting)
        assert oracle.reason_of(kernels) is waiting.reason
        is_whole = waiting.reason is WaitingReason.LARGER_THAN_ANY_AGENT
        agents = oracle.cluster.eligible(session, kernels)
        if is_whole:
            free = [agent.capacity for agent in agents]
            running = [0 for _ in agents]
        else:
            free = [tuple(slot(a.capacity, i) - slot(a.occupied, i) for i in range(3)) for a in agents]
            running = [agent.container_count for agent in agents]
        requested = {i: sum(slot(kernel.requested_slots, i) for kernel in kernels) for i in range(3)}
        assert [(each.slot_index, each.requested, each.available) for each in detail.slots] == [
            (index, requested[index], max(vector[index] for vector in free))
            for index in range(3)
            if requested[index]
        ]
        assert detail.container_count == len(kernels)
        limits = [agent.max_containers for agent in agents]
        limited = [most - used for most, used in zip(limits, running, strict=True) if most is not None]
        assert detail.container_room == (None if None in limits else max(limited))


class TestText:
    """One snapshot per reason, as a person reads it."""

    agents = (
        make_agent("a", (4000, 64, 0), (1500, 0, 0)),
        make_agent("b", (8000, 64, 2000), (8000, 0, 1500), architecture=ARM),
    )

    def text(self, data: SchedulingData) -> tuple[WaitingReason, str]:
        (waiting,) = waiting_reasons(data)
        return waiting.reason, describe(waiting, data)

    def of(self, session: PendingSession) -> tuple[WaitingReason, str]:
        return self.text(make_data(self.agents, (session,)))

    def test_group_inactive(self) -> None:
        data = make_data(self.agents, (make_session(1, (1, 1)),), is_active=False)
        assert self.text(data) == (WaitingReason.GROUP_INACTIVE, "the scaling group gpu-pool is inactive")

    def test_no_kernels(self) -> None:
        assert self.of(make_session(1)) == (WaitingReason.NO_KERNELS, "the session has no kernels to place")

    def test_no_agent(self) -> None:
        data = make_data((), (make_session(1, (1, 1), designated=(AgentId("a"),)),))
        assert self.text(data) == (WaitingReason.NO_AGENT, "the scaling group has no agent that takes kernels")

    def test_unknown_slot(self) -> None:
        assert self.of(make_session(1, (1, 1), (1, 1, 0, 0, 7))) == (
            WaitingReason.UNKNOWN_SLOT,
            "kernel 1: asks for 7 of slot index 4, which no slot type has",
        )

    def test_start(self) -> None:
        assert self.of(make_session(1, (1, 1), requested_start_at=OBSERVED_AT + timedelta(hours=1))) == (
            WaitingReason.START_NOT_REACHED,
            "asked to start at 2030-01-01T13:00:00+00:00; at 2030-01-01T12:00:00+00:00 that is not reached",
        )

    @pytest.mark.parametrize(
        ("status", "result", "reason", "expected"),
        [
            (None, None, WaitingReason.DEPENDENCY_CANNOT_BE_MET, "no longer exists: this can never be met"),
            (
                SessionStatus.TERMINATED,
                SessionResult.FAILURE,
                WaitingReason.DEPENDENCY_CANNOT_BE_MET,
                "ended as TERMINATED with FAILURE: this can never be met",
            ),
            (SessionStatus.RUNNING, None, WaitingReason.DEPENDENCY_NOT_MET, "is RUNNING"),
        ],
    )
    def test_dependency(
        self,
        status: Optional[SessionStatus],
        result: Optional[SessionResult],
        reason: WaitingReason,
        expected: str,
    ) -> None:
        other = SessionId(UUID(int=5))
        text = f"depends on session {other}, which {expected}"
        session = make_session(1, (1, 1), dependencies=(SessionDependency(other, status, result),))
        assert self.of(session) == (reason, text)

    def test_kernels_per_session(self) -> None:
        usage = make_usage(ACCESS_KEYS[0], max_kernels_per_session=1)
        data = make_data(self.agents, (make_session(1, (1, 1), (1, 1)),), access_keys=(usage,))
        assert self.text(data) == (
            WaitingReason.TOO_MANY_KERNELS,
            "kernels in one session of access key key-a are limited to 1; this has 2",
        )

    def test_session_quota(self) -> None:
        usage = make_usage(ACCESS_KEYS[0], session_count=2, max_concurrent_sessions=2)
        data = make_data(self.agents, (make_session(1, (1, 1)),), access_keys=(usage,))
        assert self.text(data) == (
            WaitingReason.SESSION_QUOTA,
            "sessions of access key key-a at once are limited to 2; it has 2",
        )

    def test_slot_quota(self) -> None:
        usage = make_usage(PROJECTS[0], (2500, 0, 0), slot_limits=(4000,))
        data = make_data(self.agents, (make_session(1, (1750, 1)),), projects=(usage,))
        assert self.text(data) == (
            WaitingReason.SLOT_QUOTA,
            f"project {PROJECTS[0]} occupies 2.5 core of cpu; 1.75 core more would pass its limit of 4 core",
        )

    def test_designated(self) -> None:
        gone = tuple(AgentId(f"gone-{number}") for number in range(5))
        assert self.of(make_session(1, (1, 1), designated=gone)) == (
            WaitingReason.DESIGNATED_AGENTS_UNAVAILABLE,
            "none of the designated agents takes kernels: gone-0, gone-1, gone-2 and 2 more",
        )

    def test_architecture(self) -> None:
        architectures = (Architecture("riscv64"),)
        assert self.of(make_session(1, (1, 1), architectures=architectures)) == (
            WaitingReason.NO_AGENT_OF_ARCHITECTURE,
            "asks for riscv64 on one agent; the candidate agents are aarch64, x86_64",
        )

    def test_larger_than_any_agent(self) -> None:
        assert self.of(make_session(1, (4000, 1, 2500))) == (
            WaitingReason.LARGER_THAN_ANY_AGENT,
            "no candidate agent, even empty, is large enough for cuda.shares 2.5 (most on one agent: 2)",
        )

    @pytest.mark.parametrize(
        ("amount", "text"), [(2**33, "8 GiB"), (3 * 2**39, "1536 GiB"), (2**33 + 1, "8589934593 B"), (5, "5 B")]
    )
    def test_bytes_are_exact(self, amount: int, text: str) -> None:
        data = make_data((make_agent("a", (9, 4, 9)),), (make_session(1, (1, amount)),))
        in_bytes = tuple(
            SlotType(slot.name, slot.slot_index, 1, "B") if slot.slot_index == 1 else slot
            for slot in data.slot_types
        )
        reason, words = self.text(msgspec.structs.replace(data, slot_types=in_bytes))
        assert reason is WaitingReason.LARGER_THAN_ANY_AGENT
        subject = "no candidate agent, even empty, is large enough for"
        assert words == f"{subject} mem {text} (most on one agent: 4 B)"

    def test_a_combination_that_no_agent_has(self) -> None:
        agents = (make_agent("a", (9000, 1, 0)), make_agent("b", (1000, 9, 0)))
        data = make_data(agents, (make_session(1, (2000, 5)),))
        assert self.text(data) == (
            WaitingReason.LARGER_THAN_ANY_AGENT,
            "no candidate agent, even empty, is large enough for cpu 2 core (most on one agent: 9 core), "
            "mem 5 (most on one agent: 9)",
        )

    def test_not_enough_free(self) -> None:
        assert self.of(make_session(1, (3000, 32, 500))) == (
            WaitingReason.NOT_ENOUGH_FREE,
            "no agent has free at once cpu 3 core (most on one agent: 2.5 core)",
        )

    def test_overcommitted_agents_have_less_than_nothing(self) -> None:
        data = make_data((make_agent("a", (4000, 1), (0, 3)),), (make_session(1, (1000, 1)),))
        assert self.text(data) == (
            WaitingReason.NOT_ENOUGH_FREE,
            "no agent has free at once mem 1 (most on one agent: -2)",
        )

    def test_containers(self) -> None:
        agent = make_agent("a", (9, 9, 9), running=1, max_containers=2)
        data = make_data((agent,), (make_session(1, (0, 0), (0, 0)),))
        assert self.text(data) == (
            WaitingReason.NOT_ENOUGH_FREE,
            "no agent has free at once containers 2 (most on one agent: 1)",
        )

    def test_the_kernel_with_the_earlier_reason_is_named(self) -> None:
        reason, text = self.of(make_session(1, (3000, 1), (9000, 1), cluster_mode=ClusterMode.MULTI_NODE))
        assert reason is WaitingReason.LARGER_THAN_ANY_AGENT
        assert text.startswith("kernel 1: ")

    @pytest.mark.parametrize(
        ("second", "proof"),
        [(1500, "no placement of all exists"), (1400, "another choice of agents may hold all")],
    )
    def test_together(self, second: int, proof: str) -> None:
        text = self.of(make_session(1, (1500, 1), (second, 1), cluster_mode=ClusterMode.MULTI_NODE))
        assert text == (
            WaitingReason.KERNELS_DO_NOT_FIT_TOGETHER,
            f"its 2 kernels fit one by one but not together: best fit placed 1; {proof}",
        )

    def test_placeable(self) -> None:
        assert self.of(make_session(1, (2500, 64))) == (
            WaitingReason.PLACEABLE,
            "fits now on a; a plan that comes to it will place it",
        )
