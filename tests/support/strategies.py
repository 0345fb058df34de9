"""Small random snapshots, in which every reason for waiting is likely."""

from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Optional
from uuid import UUID

import msgspec
from hypothesis import strategies as st

from scheduler_repo.entities.scheduling_data import (
    AgentGain,
    OwnerUsage,
    PendingKernel,
    PendingSession,
    PreemptionCandidate,
    Reservation,
    ReservedKernel,
    ScalingGroupInfo,
    SchedulableAgent,
    SchedulingData,
    SessionDependency,
)
from scheduler_repo.entities.slot_type import SlotType
from scheduler_repo.entities.snapshot_token import DatabaseIdentity, Snapshot, SnapshotToken
from scheduler_repo.types import (
    AccessKey,
    AgentId,
    Architecture,
    ClusterMode,
    DomainName,
    KernelId,
    OwnerT,
    PreemptionScope,
    ProjectId,
    ScalingGroupName,
    SessionId,
    SessionResult,
    SessionStatus,
    SessionType,
    SlotName,
    SlotVector,
    UserId,
)

OBSERVED_AT = datetime(2030, 1, 1, 12, tzinfo=UTC)


SLOT_TYPES = (
    SlotType(SlotName("cpu"), 0, 1000, "core"),
    SlotType(SlotName("mem"), 1, 1, ""),
    SlotType(SlotName("cuda.shares"), 2, 1000, ""),
)


X86, ARM = Architecture("x86_64"), Architecture("aarch64")


ACCESS_KEYS = (AccessKey("key-a"), AccessKey("key-b"))


USERS = (UserId(UUID(int=1)), UserId(UUID(int=2)))


PROJECTS = (ProjectId(UUID(int=3)), ProjectId(UUID(int=4)))


DOMAINS = (DomainName("domain-a"), DomainName("domain-b"))


AGENT_IDS = tuple(AgentId(f"agent-{number}") for number in range(6))


amounts = st.integers(0, 6)


vectors = st.tuples(amounts, amounts, st.sampled_from([0, 0, 1, 2, 4]))


# Shorter and longer than the slot types; what lies beyond them is unknown, unless it is 0.
odd_vectors = st.lists(amounts, min_size=1, max_size=4).map(tuple)


limits = st.none() | st.integers(0, 20)


def make_agent(
    agent_id: str,
    capacity: SlotVector,
    occupied: SlotVector = (0, 0, 0),
    *,
    architecture: Architecture = X86,
    running: int = 0,
    max_containers: Optional[int] = None,
) -> SchedulableAgent:
    return SchedulableAgent(
        AgentId(agent_id),
        "10.0.0.1:6001",
        architecture,
        running,
        max_containers,
        capacity,
        occupied,
        (0, 0, 0),
        0,
    )


def make_session(
    number: int,
    *requested: SlotVector,
    cluster_mode: ClusterMode = ClusterMode.SINGLE_NODE,
    architectures: Optional[tuple[Optional[Architecture], ...]] = None,
    owners: tuple[int, int, int, int] = (0, 0, 0, 0),
    requested_start_at: Optional[datetime] = None,
    designated: tuple[AgentId, ...] = (),
    dependencies: tuple[SessionDependency, ...] = (),
) -> PendingSession:
    named = architectures or (None,) * len(requested)
    kernels = tuple(
        PendingKernel(KernelId(UUID(int=1000 * number + index)), index, architecture, slots)
        for index, (slots, architecture) in enumerate(zip(requested, named, strict=True))
    )
    return PendingSession(
        SessionId(UUID(int=number)),
        f"session-{number}",
        ACCESS_KEYS[owners[0]],
        USERS[owners[1]],
        PROJECTS[owners[2]],
        DOMAINS[owners[3]],
        10,
        SessionType.BATCH,
        cluster_mode,
        OBSERVED_AT - timedelta(hours=1),
        requested_start_at,
        designated,
        0,
        (),
        kernels,
        dependencies,
    )


def make_usage(
    owner_id: OwnerT,
    occupied: SlotVector = (0, 0, 0),
    session_count: int = 0,
    slot_limits: tuple[Optional[int], ...] = (None, None, None),
    max_concurrent_sessions: Optional[int] = None,
    max_kernels_per_session: Optional[int] = None,
) -> OwnerUsage[OwnerT]:
    return OwnerUsage(
        owner_id, occupied, session_count, None, slot_limits, max_concurrent_sessions, max_kernels_per_session
    )


def make_data(
    agents: tuple[SchedulableAgent, ...] = (),
    sessions: tuple[PendingSession, ...] = (),
    *,
    is_active: bool = True,
    reservations: tuple[Reservation, ...] = (),
    preemption_scope: Optional[PreemptionScope] = None,
    preemption_min_runtime: timedelta = timedelta(),
    preemption_candidates: tuple[PreemptionCandidate, ...] = (),
    access_keys: Optional[tuple[OwnerUsage[AccessKey], ...]] = None,
    users: Optional[tuple[OwnerUsage[UserId], ...]] = None,
    projects: Optional[tuple[OwnerUsage[ProjectId], ...]] = None,
    domains: Optional[tuple[OwnerUsage[DomainName], ...]] = None,
) -> SchedulingData:
    return SchedulingData(
        SnapshotToken(Snapshot("1:1:"), DatabaseIdentity(1, 1, 1, OBSERVED_AT), None),
        OBSERVED_AT,
        None,
        ScalingGroupInfo(
            ScalingGroupName("gpu-pool"), is_active, None, preemption_scope, preemption_min_runtime
        ),
        SLOT_TYPES,
        sessions,
        tuple(_with_reserved(agent, reservations) for agent in agents),
        reservations,
        preemption_candidates,
        access_keys or tuple(make_usage(owner) for owner in ACCESS_KEYS),
        users or tuple(make_usage(owner) for owner in USERS),
        projects or tuple(make_usage(owner) for owner in PROJECTS),
        domains or tuple(make_usage(owner) for owner in DOMAINS),
    )


def make_reservation(session: PendingSession, position: int, *agent_ids: str) -> Reservation:
    """Hold the session's kernels, by index, on these agents."""
    return Reservation(
        session.session_id,
        position,
        tuple(
            ReservedKernel(kernel.kernel_id, AgentId(agent_id), kernel.requested_slots)
            for kernel, agent_id in zip(session.kernels, agent_ids, strict=True)
        ),
    )


def make_candidate(
    number: int,
    owners: tuple[int, int, int, int] = (0, 0, 0, 0),
    priority: int = 1,
    running_since: datetime = OBSERVED_AT,
) -> PreemptionCandidate:
    return PreemptionCandidate(
        SessionId(UUID(int=number)),
        ACCESS_KEYS[owners[0]],
        USERS[owners[1]],
        PROJECTS[owners[2]],
        DOMAINS[owners[3]],
        priority,
        running_since,
        (AgentGain(AGENT_IDS[0], (1, 1, 0), 1),),
    )


def _with_reserved(agent: SchedulableAgent, reservations: tuple[Reservation, ...]) -> SchedulableAgent:
    kernels = [
        kernel
        for reservation in reservations
        for kernel in reservation.kernels
        if kernel.agent_id == agent.agent_id
    ]
    if not kernels:
        return agent
    vectors = [kernel.requested_slots for kernel in kernels]
    reserved = tuple(sum(amounts) for amounts in zip_longest((0, 0, 0), *vectors, fillvalue=0))
    return msgspec.structs.replace(agent, reserved=reserved, reserved_containers=len(kernels))


@st.composite
def agents(draw: st.DrawFn, agent_id: AgentId) -> SchedulableAgent:
    """One agent; now and then it runs more than it has, as one that came back smaller does."""
    capacity = draw(vectors)
    occupied = draw(st.just((0, 0, 0)) | st.tuples(*(st.integers(0, total + 1) for total in capacity)))
    return make_agent(
        agent_id,
        capacity,
        occupied,
        architecture=draw(st.sampled_from([X86, X86, ARM])),
        running=draw(st.integers(0, 2)),
        max_containers=draw(st.none() | st.integers(0, 5)),
    )


@st.composite
def pending_sessions(draw: st.DrawFn, number: int) -> PendingSession:
    """One session, most often one that only capacity holds back."""
    requested = draw(st.lists(vectors, min_size=1, max_size=3) | st.lists(vectors | odd_vectors, max_size=3))
    if requested and draw(st.integers(0, 3)) == 0:
        requested = [requested[0]] * len(requested)
    architecture = st.sampled_from([None, None, X86, ARM])
    dependency = st.builds(
        SessionDependency,
        st.integers(1, 9).map(lambda value: SessionId(UUID(int=900 + value))),
        st.none() | st.sampled_from(SessionStatus),
        st.none() | st.sampled_from(SessionResult),
    )
    return make_session(
        number,
        *requested,
        cluster_mode=draw(st.sampled_from(ClusterMode)),
        architectures=tuple(draw(architecture) for _ in requested),
        owners=draw(st.tuples(*[st.integers(0, 1)] * 4)),
        requested_start_at=draw(
            st.sampled_from([None, None, None, -1, 0, 1]).map(
                lambda hours: None if hours is None else OBSERVED_AT + timedelta(hours=hours)
            )
        ),
        designated=draw(
            st.just(()) | st.sets(st.sampled_from(AGENT_IDS), max_size=3).map(lambda s: tuple(sorted(s)))
        ),
        dependencies=draw(st.just(()) | st.lists(dependency, max_size=2).map(tuple)),
    )


def usages(owner_id: OwnerT) -> st.SearchStrategy[OwnerUsage[OwnerT]]:
    """An owner's usage: mostly without limits, sometimes beyond those it has."""
    free = st.just(make_usage(owner_id))
    limited = st.builds(
        make_usage,
        st.just(owner_id),
        occupied=vectors,
        session_count=st.integers(0, 3),
        slot_limits=st.lists(limits, max_size=3).map(tuple),
        max_concurrent_sessions=st.none() | st.integers(0, 5),
        max_kernels_per_session=st.none() | st.integers(0, 3),
    )
    return free | limited


@st.composite
def scheduling_data(draw: st.DrawFn) -> SchedulingData:
    """A snapshot of up to 5 agents and 10 sessions, in queue order."""
    agent_ids = AGENT_IDS[: draw(st.integers(0, 5))]
    session_count = draw(st.integers(0, 10))
    return make_data(
        tuple(draw(agents(agent_id)) for agent_id in agent_ids),
        tuple(draw(pending_sessions(number)) for number in range(1, session_count + 1)),
        is_active=draw(st.integers(0, 19)) > 0,
        access_keys=tuple(draw(usages(owner)) for owner in ACCESS_KEYS),
        users=tuple(draw(usages(owner)) for owner in USERS),
        projects=tuple(draw(usages(owner)) for owner in PROJECTS),
        domains=tuple(draw(usages(owner)) for owner in DOMAINS),
    )


def _without_obstacles(data: SchedulingData) -> SchedulingData:
    """The same queue on larger agents: little but what is reserved and taken keeps a session back."""
    return make_data(
        tuple(
            msgspec.structs.replace(agent, capacity=tuple(amount + 6 for amount in agent.capacity))
            for agent in data.agents
        ),
        tuple(
            msgspec.structs.replace(session, requested_start_at=None, dependencies=(), designated_agent_ids=())
            for session in data.pending_sessions
        ),
    )


@st.composite
def reserved_scheduling_data(draw: st.DrawFn) -> SchedulingData:
    """A snapshot in which some sessions, of the queue or behind it, hold places on agents there or gone."""
    data = draw(scheduling_data())
    if draw(st.integers(0, 3)) > 0:
        data = _without_obstacles(data)
    waiting = [*data.pending_sessions, draw(pending_sessions(90))]
    holders = draw(st.permutations(waiting))[: draw(st.integers(0, 4))]
    reservations = []
    for position, session in enumerate(holders, start=3):
        # Mostly agents of its architecture; now and then another or none, or not all of the session's kernels.
        architectures = {kernel.architecture for kernel in session.kernels} - {None}
        fitting = [agent.agent_id for agent in data.agents if {agent.architecture} >= architectures]
        agent_ids = st.sampled_from(fitting or AGENT_IDS)
        if draw(st.integers(0, 9)) == 0:
            agent_ids = st.sampled_from(AGENT_IDS)
        one = draw(agent_ids)
        spread = session.cluster_mode is ClusterMode.MULTI_NODE and draw(st.booleans())
        held = [draw(agent_ids) if spread else one for _ in session.kernels]
        reservation = make_reservation(session, position, *held)
        if draw(st.integers(0, 9)) == 0:
            reservation = msgspec.structs.replace(reservation, kernels=reservation.kernels[1:])
        if reservation.kernels:
            reservations.append(reservation)
    agents_with = tuple(_with_reserved(agent, tuple(reservations)) for agent in data.agents)
    return msgspec.structs.replace(data, agents=agents_with, reservations=tuple(reservations))
