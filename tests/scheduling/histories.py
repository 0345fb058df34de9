"""Random histories of one small group: what happens between two ticks, and what a refresh would say of it."""

from collections.abc import Callable, Iterable
from datetime import timedelta
from random import Random
from typing import Final, Optional
from uuid import UUID

import msgspec
from msgspec.structs import replace

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.scheduling_data import (
    OwnerUsage,
    PendingSession,
    Reservation,
    SchedulableAgent,
    SchedulingData,
    SessionDependency,
)
from scheduler_repo.entities.snapshot_changes import FullReadReason, OwnerId, Refresh, SnapshotChanges
from scheduler_repo.entities.snapshot_token import Snapshot
from scheduler_repo.scheduling.deltas.queue import queue_key
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.types import (
    OWNER_FIELDS,
    AccessKey,
    AgentId,
    ClusterMode,
    OwnerScope,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotVector,
)
from tests.support.strategies import (
    ACCESS_KEYS,
    ARM,
    DOMAINS,
    OBSERVED_AT,
    PROJECTS,
    USERS,
    X86,
    make_agent,
    make_data,
    make_reservation,
    make_session,
    make_usage,
)

OWNERS: Final[dict[OwnerScope, tuple[OwnerId, ...]]] = {
    OwnerScope.ACCESS_KEY: ACCESS_KEYS,
    OwnerScope.USER: USERS,
    OwnerScope.PROJECT: PROJECTS,
    OwnerScope.DOMAIN: DOMAINS,
}
# Few shapes, so that many sessions ask alike; the last two are beyond the slot types.
_VECTORS: Final[tuple[SlotVector, ...]] = (
    (1, 0, 0),
    (1, 1, 0),
    (2, 1, 0),
    (2, 4, 0),
    (4, 4, 0),
    (1, 1, 1),
    (2, 2, 2),
    (4, 2, 4),
    (0, 0, 0),
    (0, 0, 1),
    (7, 1, 0),
    (1,),
    (1, 1, 0, 1),
)


class Running(msgspec.Struct):
    """A session that runs: its owners, and what it takes of which agents."""

    session: PendingSession
    places: list[tuple[AgentId, SlotVector]]


class History:
    """A group that changes at random; about ``agents`` agents and ``pending`` waiting sessions."""

    def __init__(self, rng: Random, agents: int, pending: int, pending_limit: Optional[int] = None) -> None:
        self.rng = rng
        self.size = agents
        self.pending_size = pending
        self.pending_limit = pending_limit
        self.now = OBSERVED_AT
        self.is_active = True
        self.ticks = 0
        self.numbers = 0
        self.agents: dict[AgentId, SchedulableAgent] = {}
        self.pending: dict[SessionId, PendingSession] = {}
        self.running: list[Running] = []
        self.reservations: list[Reservation] = []
        self.outcomes: dict[SessionId, SessionDependency] = {}
        # Limits, and what the owners occupy elsewhere.
        self.owners: dict[tuple[OwnerScope, OwnerId], OwnerUsage[AccessKey]] = {
            (scope, owner): make_usage(ACCESS_KEYS[0]) for scope, owners in OWNERS.items() for owner in owners
        }
        self.data: Optional[SchedulingData] = None
        for _ in range(agents):
            self.add_agent()
        for _ in range(pending):
            self.create()

    # -- what may happen

    def step(self) -> None:
        """Let something happen: often little, now and then much, sometimes nothing."""
        for _ in range(self.rng.choice([0, 1, 1, 2, 3, 8])):
            self.rng.choices(COMMON + RARE, [9] * len(COMMON) + [1] * len(RARE))[0](self)

    def create(self) -> None:
        rng = self.rng
        if len(self.pending) > 1.5 * self.pending_size:
            return
        self.numbers += 1
        kernels = [rng.choice(_VECTORS) for _ in range(rng.choice([1, 1, 1, 1, 2, 3]))]
        if rng.random() < 0.4:
            kernels = [kernels[0]] * len(kernels)
        if rng.random() < 0.01:
            kernels = []
        architecture = rng.choice([None, None, None, X86, X86, ARM])
        session = make_session(
            # Ids in no order of creation.
            rng.randrange(1, 10**6) * 10**4 + self.numbers,
            *kernels,
            cluster_mode=rng.choice([ClusterMode.SINGLE_NODE, ClusterMode.MULTI_NODE]),
            architectures=tuple(
                architecture if rng.random() < 0.9 else rng.choice([X86, ARM, None]) for _ in kernels
            ),
            owners=(rng.randrange(2), rng.randrange(2), rng.randrange(2), rng.randrange(2)),
            requested_start_at=rng.choice([None] * 6 + [self.now + timedelta(minutes=rng.randrange(-2, 9))]),
            designated=self._some_agents(2) if rng.random() < 0.1 else (),
            dependencies=self._dependencies() if rng.random() < 0.15 else (),
        )
        self.pending[session.session_id] = replace(
            session,
            priority=rng.choice([0, 10, 10, 10, 20]),
            created_at=OBSERVED_AT + timedelta(seconds=rng.choice([self.ticks, rng.randrange(100)])),
            failed_agent_ids=self._some_agents(2) if rng.random() < 0.05 else (),
        )

    def end(self) -> None:
        if self.running:
            self._free(self.running.pop(self.rng.randrange(len(self.running))))

    def end_many(self) -> None:
        for _ in range(len(self.running) // 2):
            self.end()

    def return_to_queue(self) -> None:
        if self.running:
            one = self.running.pop(self.rng.randrange(len(self.running)))
            self._free(one)
            failed = tuple({agent_id for agent_id, _ in one.places}) if self.rng.random() < 0.5 else ()
            self.pending[one.session.session_id] = replace(one.session, failed_agent_ids=failed)

    def cancel(self) -> None:
        if self.pending:
            del self.pending[self._any_pending().session_id]

    def set_priority(self) -> None:
        if self.pending:
            session = self._any_pending()
            self.pending[session.session_id] = replace(session, priority=self.rng.choice([0, 10, 20, 30]))

    def settle_dependency(self) -> None:
        if not self.outcomes:
            return
        depended = self.rng.choice(sorted(self.outcomes))
        status, result = self.rng.choice(
            [
                (SessionStatus.RUNNING, None),
                (SessionStatus.TERMINATED, SessionResult.SUCCESS),
                (SessionStatus.TERMINATED, SessionResult.SUCCESS),
                (SessionStatus.TERMINATED, SessionResult.FAILURE),
                (None, None),
            ]
        )
        outcome = self.outcomes[depended] = SessionDependency(depended, status, result)
        for session in self.pending.values():
            if any(each.depends_on == depended for each in session.dependencies):
                dependencies = tuple(
                    outcome if each.depends_on == depended else each for each in session.dependencies
                )
                self.pending[session.session_id] = replace(session, dependencies=dependencies)

    def set_limit(self) -> None:
        key = self.rng.choice(sorted(self.owners, key=str))
        usage = self.owners[key]
        limits = usage.slot_limits, usage.max_concurrent_sessions, usage.max_kernels_per_session
        kind = self.rng.randrange(4)
        if kind == 0:
            limits = (None, None, None), None, None
        elif kind == 1:
            amounts = [self.rng.choice([None, 0, 4, 9, 30]) for _ in range(self.rng.randrange(4))]
            limits = tuple(amounts), limits[1], limits[2]
        elif kind == 2:
            limits = limits[0], self.rng.choice([None, 0, 2, 5, 20]), limits[2]
        else:
            limits = limits[0], limits[1], self.rng.choice([None, 0, 1, 2])
        self.owners[key] = replace(
            usage, slot_limits=limits[0], max_concurrent_sessions=limits[1], max_kernels_per_session=limits[2]
        )

    def work_elsewhere(self) -> None:
        """An owner's sessions of other groups begin or end."""
        key = self.rng.choice(sorted(self.owners, key=str))
        occupied = tuple(self.rng.choice([0, 0, 2, 5]) for _ in range(3))
        self.owners[key] = replace(
            self.owners[key], occupied=occupied, session_count=self.rng.choice([0, 0, 1, 4])
        )

    def add_agent(self) -> None:
        if len(self.agents) > 1.5 * self.size:
            return
        rng = self.rng
        agent_id = f"agent-{rng.randrange(10**4):04}"
        if agent_id not in self.agents:
            self.agents[AgentId(agent_id)] = make_agent(
                agent_id,
                rng.choice([(4, 4, 0), (4, 8, 0), (8, 8, 0), (8, 8, 4), (4, 4, 2), (3, 0, 0), (2, 2, 8)]),
                architecture=rng.choice([X86, X86, X86, ARM]),
                max_containers=rng.choice([None, None, 2, 5]),
            )

    def lose_agent(self) -> None:
        """An agent goes, and what runs on it goes on unseen; it may come back by another number."""
        if self.agents:
            del self.agents[self._any_agent()]

    def change_agent(self) -> None:
        if not self.agents:
            return
        agent_id = self._any_agent()
        agent, rng = self.agents[agent_id], self.rng
        kind = rng.randrange(5)
        if kind == 0:
            agent = replace(
                agent, capacity=tuple(max(0, each + rng.choice([-2, 0, 2])) for each in agent.capacity)
            )
        elif kind == 1:
            agent = replace(agent, architecture=rng.choice([X86, ARM]))
        elif kind == 2:
            agent = replace(agent, max_containers=rng.choice([None, 1, 3, 9]))
        elif kind == 3:
            agent = replace(
                agent, occupied=tuple(max(0, each + rng.choice([-1, 0, 1])) for each in agent.occupied)
            )
        else:
            agent = replace(agent, address=f"10.0.0.1:{rng.randrange(9)}")
        self.agents[agent_id] = agent

    def reserve(self) -> None:
        """Hold the places of a session, or of one that the queue does not show."""
        if not self.pending or not self.agents or len(self.reservations) > 3:
            return
        session, rng = self._any_pending(), self.rng
        if not session.kernels or any(each.session_id == session.session_id for each in self.reservations):
            return
        one = self._any_agent()
        spread = session.cluster_mode is ClusterMode.MULTI_NODE and rng.random() < 0.5
        agent_ids = [self._any_agent() if spread else one for _ in session.kernels]
        reservation = make_reservation(session, self.ticks, *agent_ids)
        if rng.random() < 0.1 and len(session.kernels) > 1:
            reservation = replace(reservation, kernels=reservation.kernels[1:])
        self.reservations.append(reservation)

    def drop_reservation(self) -> None:
        if self.reservations:
            self.reservations.pop(self.rng.randrange(len(self.reservations)))

    def pass_time(self) -> None:
        self.now += timedelta(minutes=self.rng.choice([1, 1, 3]))

    def put_clock_back(self) -> None:
        self.now -= timedelta(minutes=2)

    def switch(self) -> None:
        self.is_active = not self.is_active or self.rng.random() < 0.7

    # -- ticks

    def refresh(self) -> Refresh:
        """Return what a tick reads, with the changes since the one before; rarely it does not know them."""
        self.ticks += 1
        before, now = self.data, self._read()
        self.data = now
        if before is None or self.rng.random() < 0.01:
            return first_refresh(now)
        if self.rng.random() < 0.01:
            # Somebody else has read in between.
            before = replace(now, token=replace(now.token, snapshot=Snapshot("2:2:")))
        return next_refresh(before, now)

    def write(self, plan: Iterable[SessionAllocation]) -> None:
        """Write a plan as the gate may: all of it, in most cases, else a part or nothing."""
        share = self.rng.choice([1, 1, 1, 1, 0.5, 0])
        for allocation in plan:
            if self.rng.random() >= share:
                continue
            session = self.pending.pop(allocation.session_id)
            slots = {kernel.kernel_id: kernel.requested_slots for kernel in session.kernels}
            places = [(kernel.agent_id, slots[kernel.kernel_id]) for kernel in allocation.kernels]
            self.running.append(Running(session, places))
            self._occupy(places, 1)
            self.reservations = [each for each in self.reservations if each.session_id != session.session_id]

    def _read(self) -> SchedulingData:
        queue = sorted(self.pending.values(), key=queue_key)[: self.pending_limit]
        data = make_data(
            tuple(self.agents[agent_id] for agent_id in sorted(self.agents)),
            tuple(queue),
            is_active=self.is_active,
            reservations=tuple(sorted(self.reservations, key=lambda each: (each.position, each.session_id))),
        )
        snapshot = Snapshot(f"{10 + self.ticks}:{10 + self.ticks}:")
        return replace(
            data,
            token=replace(data.token, snapshot=snapshot),
            observed_at=self.now,
            pending_limit=self.pending_limit,
            **{
                fields.several: tuple(
                    self._usage(scope, owner, fields.one)
                    for owner in sorted({getattr(session, fields.one) for session in queue})
                )
                for scope, fields in OWNER_FIELDS.items()
            },
        )

    def _usage(self, scope: OwnerScope, owner: OwnerId, field: str) -> OwnerUsage[AccessKey]:
        usage = self.owners[scope, owner]
        its = [one for one in self.running if getattr(one.session, field) == owner]
        occupied = total_slots((usage.occupied, *(slots for one in its for _, slots in one.places)))
        return replace(usage, owner_id=owner, occupied=occupied, session_count=usage.session_count + len(its))

    def _free(self, one: Running) -> None:
        self._occupy(one.places, -1)

    def _occupy(self, places: Iterable[tuple[AgentId, SlotVector]], sign: int) -> None:
        for agent_id, slots in places:
            agent = self.agents.get(agent_id)
            if agent is not None:
                signed = tuple(sign * amount for amount in slots)
                self.agents[agent_id] = replace(
                    agent,
                    occupied=total_slots((agent.occupied, signed)),
                    container_count=agent.container_count + sign,
                )

    def _moved(self, slots: SlotVector, by: int) -> SlotVector:
        return tuple(max(0, amount + self.rng.choice([-by, 0, by])) for amount in slots)

    def _any_pending(self) -> PendingSession:
        return self.pending[self.rng.choice(sorted(self.pending))]

    def _any_agent(self) -> AgentId:
        return self.rng.choice(sorted(self.agents))

    def _some_agents(self, most: int) -> tuple[AgentId, ...]:
        known = sorted(self.agents)
        return tuple(sorted(self.rng.sample(known, min(len(known), self.rng.randint(1, most)))))

    def _dependencies(self) -> tuple[SessionDependency, ...]:
        depended = SessionId(UUID(int=self.rng.randrange(1, 6)))
        running = SessionDependency(depended, SessionStatus.RUNNING, None)
        return (self.outcomes.setdefault(depended, running),)


Happening = Callable[[History], None]
COMMON: Final[list[Happening]] = [
    History.create,
    History.create,
    History.end,
    History.end,
    History.cancel,
    History.pass_time,
    History.settle_dependency,
    History.work_elsewhere,
]
RARE: Final[list[Happening]] = [
    History.end_many,
    History.return_to_queue,
    History.set_priority,
    History.set_limit,
    History.add_agent,
    History.lose_agent,
    History.change_agent,
    History.change_agent,
    History.reserve,
    History.drop_reservation,
    History.put_clock_back,
    History.switch,
]


def changes_between(before: SchedulingData, now: SchedulingData) -> SnapshotChanges:
    """Say what differs, as a refresh does."""
    was = {session.session_id: session for session in before.pending_sessions}
    is_now = {session.session_id: session for session in now.pending_sessions}
    sessions = tuple(key for key in {**was, **is_now} if was.get(key) != is_now.get(key))
    agents_before = {agent.agent_id: agent for agent in before.agents}
    agents_now = {agent.agent_id: agent for agent in now.agents}
    owners: list[tuple[OwnerScope, OwnerId]] = []
    for scope in OwnerScope:
        usages_before = {usage.owner_id: usage for usage in before.owners_of(scope)}
        usages_now = {usage.owner_id: usage for usage in now.owners_of(scope)}
        owners += [
            (scope, key)
            for key in {**usages_before, **usages_now}
            if usages_before.get(key) != usages_now.get(key)
        ]
    return SnapshotChanges(
        sessions=sessions,
        entered=tuple(is_now[key] for key in sessions if key in is_now),
        agents=tuple(
            key for key in {**agents_before, **agents_now} if agents_before.get(key) != agents_now.get(key)
        ),
        owners=tuple(owners),
        reservations=before.reservations != now.reservations,
        scaling_group=before.scaling_group != now.scaling_group,
    )


def first_refresh(data: SchedulingData) -> Refresh:
    return Refresh(data, FullReadReason.FIRST, None, None, 0, 0)


def next_refresh(before: SchedulingData, now: SchedulingData) -> Refresh:
    return Refresh(now, None, changes_between(before, now), before.token, 0, 0)


def made_next(before: SchedulingData, **fields: object) -> SchedulingData:
    """Return the data with some fields as they are now, under the next token."""
    xmax = before.token.xmax + 1
    return replace(before, token=replace(before.token, snapshot=Snapshot(f"{xmax}:{xmax}:")), **fields)
