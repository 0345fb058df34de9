"""The gate lets through exactly what plain rules allow, in the order of the batch, for true reasons."""

from collections.abc import Sequence

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from scheduler_repo.entities.allocation import KernelAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.scheduling.admission.allocations import LockedSession, LockedState, decide
from scheduler_repo.scheduling.rules.feasibility import Load
from scheduler_repo.steps import finish
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
)
from tests.support.naive_cluster import NaiveCluster
from tests.support.strategies import AGENT_IDS, DOMAINS, make_data, make_session, make_usage, scheduling_data

CLOSED_AGENT = AgentId("agent-closed")
NO_AGENT = AgentId("agent-gone")
RUNNING, ELSEWHERE, GONE = (make_session(number, (1, 0, 0)) for number in (101, 102, 103))


class NaiveGate:
    """Tries one allocation after another on a naive cluster."""

    def __init__(self, data: SchedulingData) -> None:
        self.data = data
        self.cluster = NaiveCluster(data)
        self.pending = {session.session_id: session for session in data.pending_sessions}
        self.named: set[SessionId] = set()

    def codes(self, allocation: SessionAllocation) -> set[RejectionCode]:
        """Everything that stands against it; if nothing does it is placed."""
        if allocation.session_id in self.named:
            return {RejectionCode.DUPLICATE}
        self.named.add(allocation.session_id)
        session = self.pending.get(allocation.session_id)
        if session is None:
            return {
                {
                    RUNNING.session_id: RejectionCode.NOT_PENDING,
                    ELSEWHERE.session_id: RejectionCode.OTHER_GROUP,
                    GONE.session_id: RejectionCode.SESSION_UNKNOWN,
                }[allocation.session_id]
            }
        agent_of = {kernel.kernel_id: kernel.agent_id for kernel in allocation.kernels}
        wanted = [kernel.kernel_id for kernel in session.kernels]
        if sorted(kernel.kernel_id for kernel in allocation.kernels) != sorted(wanted) or not wanted:
            return {RejectionCode.KERNELS_DIFFER} | self.codes_of_session(session)
        codes = self.codes_of_session(session)
        if session.cluster_mode is ClusterMode.SINGLE_NODE and len(set(agent_of.values())) > 1:
            codes.add(RejectionCode.SPREAD)
        placed = {
            agent_id: [kernel for kernel in session.kernels if agent_of[kernel.kernel_id] == agent_id]
            for agent_id in agent_of.values()
        }
        for agent_id, kernels in placed.items():
            if agent_id not in self.cluster.occupied:
                codes.add(
                    RejectionCode.AGENT_UNAVAILABLE if agent_id == CLOSED_AGENT else RejectionCode.AGENT_UNKNOWN
                )
            elif all(agent.agent_id != agent_id for agent in self.cluster.fitting(session, kernels)):
                codes.add(RejectionCode.AGENT)
        if not codes:
            self.cluster.charge(session)
            for agent_id, kernels in placed.items():
                self.cluster.add(agent_id, kernels)
        return codes

    def codes_of_session(self, session: PendingSession) -> set[RejectionCode]:
        codes = set()
        start = session.requested_start_at
        if not self.data.scaling_group.is_active:
            codes.add(RejectionCode.GROUP_INACTIVE)
        if start is not None and start > self.data.observed_at:
            codes.add(RejectionCode.START_NOT_REACHED)
        met = (SessionStatus.TERMINATED, SessionResult.SUCCESS)
        if any((one.status, one.result) != met for one in session.dependencies):
            codes.add(RejectionCode.DEPENDENCY)
        for owner in self.cluster.owners_of(session):
            if (
                owner.has_too_many_kernels(session)
                or owner.has_too_many_sessions()
                or owner.slots_above_limit(session)
            ):
                codes.add(RejectionCode.OWNER_LIMIT)
        return codes


# Hypothesis leans to the first.
now_and_then = st.sampled_from([False] * 5 + [True])


def with_nothing_in_the_way(data: SchedulingData) -> SchedulingData:
    """The same queue, on larger agents, where only agents and shapes can stand against a session."""
    ample = make_data()
    free = tuple(
        msgspec.structs.replace(session, requested_start_at=None, dependencies=())
        for session in data.pending_sessions
    )
    larger = tuple(
        msgspec.structs.replace(agent, capacity=tuple(amount + 4 for amount in agent.capacity))
        for agent in data.agents
    )
    return msgspec.structs.replace(ample, agents=larger, pending_sessions=free)


@st.composite
def allocations(draw: st.DrawFn, data: SchedulingData, session: PendingSession) -> SessionAllocation:
    """A session mostly on agents that could take it alone, now and then with kernels missing or too many."""
    empty = NaiveCluster(data)
    fitting = [agent.agent_id for agent in empty.fitting(session, session.kernels)] if session.kernels else []
    agent_ids = st.sampled_from(fitting or AGENT_IDS)
    if draw(now_and_then):
        agent_ids = st.sampled_from([*(agent.agent_id for agent in data.agents), CLOSED_AGENT, NO_AGENT])
    one = draw(agent_ids)
    spread = draw(st.booleans())
    kernels = [
        KernelAllocation(kernel.kernel_id, draw(agent_ids) if spread else one) for kernel in session.kernels
    ]
    if draw(now_and_then):
        kernels = draw(st.sampled_from([kernels[1:], kernels * 2]))
    return SessionAllocation(session.session_id, tuple(kernels))


@st.composite
def batches(draw: st.DrawFn) -> tuple[SchedulingData, Sequence[SessionAllocation]]:
    """Most of the queue, in any order, and now and then a session twice or one that does not wait there."""
    data = draw(scheduling_data())
    if not draw(now_and_then):
        data = with_nothing_in_the_way(data)
        # What the domains still have is soon used up by the batch itself.
        limits = st.tuples(st.none() | st.integers(2, 12))
        sessions_left = st.none() | st.integers(1, 3)
        domains = tuple(
            make_usage(owner, slot_limits=draw(limits), max_concurrent_sessions=draw(sessions_left))
            for owner in DOMAINS
        )
        data = msgspec.structs.replace(data, domains=domains)
    sessions = draw(st.permutations(data.pending_sessions))
    if draw(now_and_then):
        sessions = draw(st.permutations([*sessions, *sessions[:2], RUNNING, ELSEWHERE, GONE]))
    return data, [draw(allocations(data, session)) for session in sessions]


class TestAgainstPlainRules:
    @settings(deadline=None)
    @given(batch=batches())
    def test_batch(self, batch: tuple[SchedulingData, Sequence[SessionAllocation]]) -> None:
        # given
        data, allocated = batch
        group = data.scaling_group.name
        pending = {
            session.session_id: LockedSession(group, SessionStatus.PENDING, 0)
            for session in data.pending_sessions
        }
        others = {
            RUNNING.session_id: LockedSession(group, SessionStatus.RUNNING, 0),
            ELSEWHERE.session_id: LockedSession(ScalingGroupName("elsewhere"), SessionStatus.PENDING, 0),
        }
        known = frozenset({CLOSED_AGENT, *(agent.agent_id for agent in data.agents)})
        # when
        decisions = finish(decide(allocated, LockedState(data, pending | others, known)))
        # then
        naive = NaiveGate(data)
        codes = [naive.codes(allocation) for allocation in allocated]
        accepted = [one for one, against in zip(allocated, codes, strict=True) if not against]
        refused = [(one, against) for one, against in zip(allocated, codes, strict=True) if against]
        assert decisions.accepted == accepted
        assert [rejection.session_id for rejection in decisions.rejected] == [
            one.session_id for one, _ in refused
        ]
        for rejection, (_, against) in zip(decisions.rejected, refused, strict=True):
            assert rejection.code in against
            event(rejection.code)
        for agent in data.agents:
            held = naive.cluster.occupied[agent.agent_id]
            added = decisions.added.get(agent.agent_id, Load((), 0)).slots
            for index, amount in enumerate(added):
                before = agent.occupied[index] if index < len(agent.occupied) else 0
                assert before + amount == held.get(index, 0)
            containers = decisions.added.get(agent.agent_id, Load((), 0)).count
            assert agent.container_count + containers == naive.cluster.running[agent.agent_id]
        event(f"accepted: {min(len(accepted), 3)}")
