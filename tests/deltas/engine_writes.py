"""Writes of all kinds by the engine's own repositories, as schedulers, users and operators make them."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from random import Random
from typing import Final
from uuid import UUID

from scheduler_repo import (
    AccessKey,
    AgentId,
    AgentReport,
    BestFitPlanner,
    ClusterMode,
    DomainName,
    KernelAllocation,
    KernelId,
    KernelSpec,
    LostSessionAction,
    OwnerScope,
    PreemptionScope,
    ProjectId,
    QuotaSpec,
    Repositories,
    ResourcePolicyName,
    ResourcePolicySpec,
    ScalingGroupChanges,
    ScalingGroupName,
    SchedulingData,
    SessionAttempt,
    SessionCreationSpec,
    SessionEnd,
    SessionId,
    SessionReservation,
    SessionResult,
    SessionRetry,
    SessionStart,
    SessionStatus,
    SlotName,
    SlotTypeSpec,
    SnapshotTracker,
    UserId,
)
from tests.deltas.odd_writes import PASSING_TIME
from tests.deltas.writes import GROUPS, owner_of
from tests.support.databases import DriverConnection

SESSIONS: Final = 20
NODES: Final = tuple(AgentId(f"node-{number}") for number in range(3))
# The last belongs to the second group.
SETUP_NODES: Final = """
INSERT INTO agents (id, scaling_group, address, architecture)
SELECT 'node-' || n, CASE WHEN n < 2 THEN 'gpu' ELSE 'other' END, 'tcp://node', 'x86_64'
FROM generate_series(0, 2) AS n;
INSERT INTO agent_slots (agent_id, slot_name, capacity)
SELECT 'node-' || n, name, 20 FROM generate_series(0, 2) AS n, slot_types;
"""
# A purge takes what ended long ago.
_AGE: Final = """
UPDATE sessions SET status_changed_at = now() - interval '3 days'
WHERE id = ANY ($1) AND status IN ('TERMINATED', 'CANCELLED', 'ERROR')
"""
_CPU: Final = SlotName("cpu")
_OCCUPYING: Final = (SessionStatus.SCHEDULED, SessionStatus.PREPARING, SessionStatus.RUNNING)


class Office:
    """The repositories, a tracker whose answers are decided by, and a connection to look sessions up."""

    def __init__(self, repos: Repositories, tracker: SnapshotTracker, connection: DriverConnection) -> None:
        self.repos = repos
        self.tracker = tracker
        self.connection = connection

    async def some(self, rng: Random, *statuses: SessionStatus) -> list[SessionId]:
        """Choose a few of the engine's sessions in these statuses, and now and then one in another."""
        rows = await self.connection.fetch(
            "SELECT id FROM sessions WHERE id BETWEEN $1 AND $2 AND status = ANY ($3) ORDER BY id",
            _session_id(0),
            _session_id(SESSIONS),
            [*map(str, statuses)],
        )
        found = [SessionId(row["id"]) for row in rows]
        chosen = rng.sample(found, min(len(found), rng.randrange(1, 4)))
        return chosen if rng.random() < 0.9 else [*chosen, _session_id(rng.randrange(SESSIONS))]

    async def read(self, rng: Random) -> SchedulingData:
        return (await self.tracker.get_scheduling_data(_group(rng))).data


EngineWrite = Callable[[Office, Random], Awaitable[object]]


def _session_id(number: int) -> SessionId:
    return SessionId(UUID(int=5_000 + number))


def _group(rng: Random) -> ScalingGroupName:
    return ScalingGroupName(rng.choice(GROUPS))


def _spec(rng: Random, number: int) -> SessionCreationSpec:
    access_key, user_id, project_id, domain_name = owner_of(rng)
    mode = rng.choice([*ClusterMode])
    return SessionCreationSpec(
        session_id=_session_id(number),
        name=f"session-{rng.randrange(3)}",
        scaling_group=_group(rng),
        access_key=AccessKey(access_key),
        user_id=UserId(user_id),
        project_id=ProjectId(project_id),
        domain_name=DomainName(domain_name),
        cluster_mode=mode,
        priority=rng.randrange(4),
        designated_agent_ids=tuple(rng.sample(NODES, rng.choice([0, 0, 0, 1]))),
        # Of these sessions and of those that plain SQL writes.
        depends_on=tuple(
            rng.choice([_session_id(rng.randrange(number + 1)), SessionId(UUID(int=1_000 + rng.randrange(24)))])
            for _ in range(rng.choice([0, 0, 1]))
        ),
        kernels=tuple(
            KernelSpec(
                kernel_id=KernelId(UUID(int=5_000_000 + 100 * number + index)),
                requested_slots={_CPU: rng.randrange(1, 4), SlotName("mem"): rng.randrange(3)},
            )
            for index in range(rng.randrange(1, 3))
        ),
    )


async def create_sessions(office: Office, rng: Random) -> None:
    numbers = rng.sample(range(SESSIONS), rng.randrange(1, 5))
    await office.repos.sessions.create_sessions([_spec(rng, number) for number in numbers])


async def enqueue_sessions(office: Office, rng: Random) -> None:
    await office.repos.sessions.enqueue_sessions([_spec(rng, rng.randrange(SESSIONS))])


async def allocate(office: Office, rng: Random) -> None:
    """What a scheduler's tick does: read, plan, allocate."""
    data = await office.read(rng)
    plan = BestFitPlanner().plan(data)
    await office.repos.scheduler.allocate_sessions(data.scaling_group.name, plan[: rng.randrange(1, 9)])


async def reserve(office: Office, rng: Random) -> None:
    """Preempt for the first session of the queue, by its own agents' candidates."""
    data = await office.read(rng)
    waiting = [each for each in data.pending_sessions if each.kernels]
    if not waiting or not data.agents:
        return
    session = rng.choice(waiting[:3])
    agents = [each.agent_id for each in data.agents if each.agent_id in NODES] or [data.agents[0].agent_id]
    kernels = tuple(KernelAllocation(kernel.kernel_id, rng.choice(agents)) for kernel in session.kernels)
    victims = [each.session_id for each in data.preemption_candidates if each.priority < session.priority]
    chosen = tuple(rng.sample(victims, min(len(victims), rng.randrange(2))))
    held = SessionReservation(session.session_id, kernels, chosen)
    await office.repos.reservations.reserve_sessions(data.scaling_group.name, [held])


async def release(office: Office, rng: Random) -> None:
    await office.repos.reservations.release_reservations(await office.some(rng, SessionStatus.PENDING))


async def prepare(office: Office, rng: Random) -> None:
    await office.repos.lifecycle.mark_preparing(await office.some(rng, SessionStatus.SCHEDULED))


async def dispatch(office: Office, rng: Random) -> None:
    ids = await office.some(rng, SessionStatus.SCHEDULED, SessionStatus.PREPARING)
    await office.repos.lifecycle.mark_dispatched([SessionAttempt(each, 0) for each in ids])


async def run(office: Office, rng: Random) -> None:
    """Kernels run; now and then one occupies less than it asked for."""
    ids = await office.some(rng, SessionStatus.SCHEDULED, SessionStatus.PREPARING)
    less = rng.random() < 0.3
    starts = []
    for each in ids:
        first = KernelId(UUID(int=5_000_000 + 100 * (each.int - 5_000)))
        starts.append(SessionStart(each, {first: {_CPU: 0}} if less else {}))
    await office.repos.lifecycle.mark_running(starts)


async def end(office: Office, rng: Random) -> None:
    ids = await office.some(rng, SessionStatus.RUNNING, SessionStatus.TERMINATING)
    results = [None, *SessionResult]
    await office.repos.lifecycle.mark_terminated([SessionEnd(each, rng.choice(results)) for each in ids])


async def stop(office: Office, rng: Random) -> None:
    lifecycle = office.repos.lifecycle
    if rng.random() < 0.5:
        await lifecycle.mark_terminating(await office.some(rng, *_OCCUPYING))
    elif rng.random() < 0.5:
        await lifecycle.mark_cancelled(await office.some(rng, SessionStatus.PENDING))
    else:
        await lifecycle.mark_error(await office.some(rng, *_OCCUPYING))


async def requeue(office: Office, rng: Random) -> None:
    ids = await office.some(rng, *_OCCUPYING)
    await office.repos.lifecycle.requeue_sessions([SessionRetry(each, (rng.choice(NODES),)) for each in ids])


async def update_status(office: Office, rng: Random) -> None:
    for each in await office.some(rng, *_OCCUPYING):
        await office.repos.sessions.update_status(each, SessionStatus.TERMINATED)


async def sweep(office: Office, rng: Random) -> None:
    await office.repos.lifecycle.sweep_pending_sessions(_group(rng), 2)


async def set_quotas(office: Office, rng: Random) -> None:
    owner = rng.choice(list(zip(OwnerScope, owner_of(rng), strict=True)))
    quota = QuotaSpec(
        scope=owner[0],
        owner_id=str(owner[1]),
        resource_policy=rng.choice([None, ResourcePolicyName("small"), ResourcePolicyName("large")]),
        slot_limits={_CPU: rng.choice([None, 5, 9, 30])},
        max_concurrent_sessions=rng.choice([None, 2, 9]),
    )
    await office.repos.quotas.set_quotas([quota])


async def set_resource_policies(office: Office, rng: Random) -> None:
    policy = ResourcePolicySpec(
        name=ResourcePolicyName(rng.choice(["small", "large"])),
        slot_limits={_CPU: rng.choice([None, 9, 30])},
        max_concurrent_sessions=rng.choice([None, 3, 9]),
        max_kernels_per_session=rng.choice([None, 2]),
    )
    await office.repos.resource_policies.set_resource_policies([policy])


async def beat(office: Office, rng: Random) -> None:
    """Agents are heard of, and report; those that were lost return."""
    heard = await office.repos.agents.record_heartbeats(rng.sample(NODES, 2))
    await office.repos.agents.return_agents(
        [AgentReport(each, {_CPU: rng.choice([2, 20])}) for each in (*heard.returning, rng.choice(NODES))]
    )


async def lose_agents(office: Office, rng: Random) -> None:
    group = _group(rng)
    await office.repos.agents.mark_lost_agents(group, timedelta(microseconds=rng.choice([1, 200_000])))
    await office.repos.lifecycle.recover_lost_sessions(group, rng.choice([*LostSessionAction]))


async def drain(office: Office, rng: Random) -> None:
    agents, ids = office.repos.agents, [rng.choice(NODES)]
    how = rng.choice([agents.drain_agents, agents.resume_agents, agents.resume_agents, agents.terminate_agents])
    await how(ids)


async def switch_agents(office: Office, rng: Random) -> None:
    await office.repos.agents.set_agents_schedulable(rng.sample(NODES, 2), rng.random() < 0.7)


async def change_group(office: Office, rng: Random) -> None:
    changes = ScalingGroupChanges(
        is_active=rng.random() < 0.9,
        pending_timeout=rng.choice([None, timedelta(hours=1)]),
        preemption_scope=rng.choice([None, PreemptionScope.GROUP, PreemptionScope.GROUP]),
        preemption_min_runtime=timedelta(seconds=rng.randrange(2)),
    )
    await office.repos.scaling_groups.update_scaling_group(_group(rng), changes)


async def register_slot_type(office: Office, rng: Random) -> None:
    await office.repos.scaling_groups.register_slot_types(
        [SlotTypeSpec(name=SlotName(f"slot-{rng.randrange(6)}"))]
    )


async def purge(office: Office, rng: Random) -> None:
    ended = SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR
    await office.connection.execute(_AGE, await office.some(rng, *ended))
    await office.repos.retention.purge(timedelta(days=1), batch_size=rng.choice([1, 100]))


async def fold(office: Office, _rng: Random) -> None:
    await office.repos.scheduler.fold_usage()


async def trim(office: Office, rng: Random) -> None:
    for _ in range(rng.choice([1, 2, 2])):
        await office.connection.execute(PASSING_TIME)
        await office.repos.scheduler.trim_changes(batch_size=rng.choice([1, 1_000]))


async def rebuild(office: Office, _rng: Random) -> None:
    """Count what owners occupy anew, as after drift."""
    await office.repos.audit.rebuild_usage()


ENGINE_WRITES: Final[Sequence[EngineWrite]] = (
    *(create_sessions,) * 4,
    *(allocate,) * 5,
    *(reserve, reserve, release, prepare, dispatch, run, run, run, end, end, end, stop, requeue, update_status),
    *(sweep, set_quotas, set_resource_policies, beat, beat, lose_agents, drain, switch_agents, change_group),
    *(enqueue_sessions, purge, fold),
)
