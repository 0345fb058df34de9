"""A small cluster on which some sessions run and others, more important, wait for their room."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, Optional
from uuid import UUID

import msgspec

from scheduler_repo.entities.agent import AgentSpec
from scheduler_repo.entities.allocation import AllocationResult, SessionAllocation
from scheduler_repo.entities.cluster import ClusterSpec
from scheduler_repo.entities.lifecycle import SessionEnd, SessionStart
from scheduler_repo.entities.owner import KeypairSpec, ProjectSpec, UserSpec
from scheduler_repo.entities.quota import QuotaSpec
from scheduler_repo.entities.reservation import (
    RejectedReservation,
    ReservationRejectionCode,
    ReservationResult,
    SessionReservation,
)
from scheduler_repo.entities.scheduling_data import SchedulingData
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.repositories.lifecycle.repository import LifecycleRepository
from scheduler_repo.repositories.reservation.repository import ReservationRepository
from scheduler_repo.repositories.scheduler.repository import SchedulerRepository
from scheduler_repo.scheduling.planner.best_fit import BestFitPlanner
from scheduler_repo.types import (
    AccessKey,
    DomainName,
    PreemptionScope,
    ProjectId,
    SessionId,
    SessionStatus,
    UserId,
)
from tests.support.databases import DriverConnection
from tests.support.fixtures import Load
from tests.support.small_cluster import GROUP, cluster, place, session_id

A1: Final = "a1"
A2: Final = "a2"
A3: Final = "a3"
LOW: Final = 1
HIGH: Final = 50

OTHER_KEY: Final = AccessKey("other-key")
OTHER_USER: Final = UserId(UUID(int=11))
OTHER_PROJECT: Final = ProjectId(UUID(int=12))
OTHER_DOMAIN: Final = DomainName("other-lab")

# What of an agent does not end, together with all that is held on it, above what the agent has.
OVERPROMISED: Final = """
WITH claims AS (
    SELECT agent_id, occupied_slots AS slots FROM kernels
    WHERE status IN ('SCHEDULED', 'PREPARING', 'RUNNING')
    UNION ALL
    SELECT h.agent_id, k.requested_slots FROM kernel_reservations AS h JOIN kernels AS k ON k.id = h.kernel_id
), claimed AS (
    SELECT c.agent_id, o.position - 1 AS slot_index, sum(o.amount) AS amount
    FROM claims AS c CROSS JOIN LATERAL unnest(c.slots) WITH ORDINALITY AS o (amount, position)
    GROUP BY c.agent_id, o.position
)
SELECT count(*) FROM claimed
JOIN slot_types AS t USING (slot_index)
JOIN agent_slots AS s ON s.agent_id = claimed.agent_id AND s.slot_name = t.name
WHERE claimed.amount > s.capacity
"""


def important(spec: SessionCreationSpec, priority: int = HIGH) -> SessionCreationSpec:
    return msgspec.structs.replace(spec, priority=priority)


def of_others(spec: SessionCreationSpec) -> SessionCreationSpec:
    """The same session, of other owners in all four scopes."""
    return msgspec.structs.replace(
        spec,
        access_key=OTHER_KEY,
        user_id=OTHER_USER,
        project_id=OTHER_PROJECT,
        domain_name=OTHER_DOMAIN,
    )


def hold(number: int, *agents: str, victims: Sequence[int] = ()) -> SessionReservation:
    """Hold the kernels of a session, by index, on these agents."""
    victim_ids = tuple(session_id(victim) for victim in victims)
    return SessionReservation(session_id(number), place(number, *agents).kernels, victim_ids)


def rejected(
    number: int,
    code: ReservationRejectionCode,
    agent_id: object = None,
    victim: Optional[int] = None,
    detail: object = None,
) -> RejectedReservation:
    victim_id = None if victim is None else session_id(victim)
    return RejectedReservation(session_id(number), code, agent_id, victim_id, detail)  # type: ignore[arg-type]


class Contest:
    """The engine's sources on one cluster, asked for sessions by their numbers."""

    def __init__(
        self,
        load: Load,
        scheduler: SchedulerRepository,
        lifecycle: LifecycleRepository,
        reservations: ReservationRepository,
        connection: DriverConnection,
    ) -> None:
        self.scheduler = scheduler
        self.lifecycle = lifecycle
        self.reservations = reservations
        self.connection = connection
        self._load = load

    async def given(
        self,
        agents: Sequence[AgentSpec],
        sessions: Sequence[SessionCreationSpec],
        running: Mapping[int, Sequence[str]],
        *,
        scope: Optional[PreemptionScope] = PreemptionScope.GROUP,
        min_runtime: timedelta = timedelta(),
        quotas: Sequence[QuotaSpec] = (),
    ) -> None:
        """Load a cluster in which sessions run, by number, each kernel on its agent; the others wait."""
        await self._load(self._spec(agents, sessions, quotas))
        await self.connection.execute(
            "UPDATE scaling_groups SET preemption_scope = $1, preemption_min_runtime = $2",
            scope,
            min_runtime,
        )
        await self.run({number: tuple(names) for number, names in running.items()})

    async def run(self, running: Mapping[int, Sequence[str]]) -> None:
        """Place waiting sessions and have them run."""
        allocated = await self.allocate(*(place(number, *names) for number, names in running.items()))
        assert allocated.rejected == ()
        await self.start(*running)

    async def start(self, *numbers: int) -> None:
        """Have placed sessions run."""
        await self.lifecycle.mark_preparing([session_id(number) for number in numbers])
        started = await self.lifecycle.mark_running([SessionStart(session_id(number)) for number in numbers])
        assert started.rejected == ()

    async def reserve(self, *batch: SessionReservation) -> ReservationResult:
        return await self.reservations.reserve_sessions(GROUP, batch)

    async def allocate(self, *batch: SessionAllocation) -> AllocationResult:
        return await self.scheduler.allocate_sessions(GROUP, batch)

    async def end(self, *numbers: int) -> None:
        """Say that sessions have ended."""
        ended = await self.lifecycle.mark_terminated([SessionEnd(session_id(number)) for number in numbers])
        assert ended.rejected == ()

    async def read(self) -> SchedulingData:
        return await self.scheduler.get_scheduling_data(GROUP)

    async def plan(self) -> dict[SessionId, tuple[str, ...]]:
        """What a tick would do now: the agents of each session's kernels, in the order of the plan."""
        plan = BestFitPlanner().plan(await self.read())
        return {each.session_id: tuple(kernel.agent_id for kernel in each.kernels) for each in plan}

    async def status(self, number: int) -> SessionStatus:
        query = "SELECT status FROM sessions WHERE id = $1"
        return SessionStatus(await self.connection.fetchval(query, session_id(number)))

    async def holders(self) -> list[SessionId]:
        """Who has a reservation, by position."""
        rows = await self.connection.fetch("SELECT session_id FROM reservations ORDER BY position")
        return [row["session_id"] for row in rows]

    async def overpromised(self) -> int:
        """Count the slots of agents of which more is claimed for good than there is."""
        return int(await self.connection.fetchval(OVERPROMISED))

    def _spec(
        self, agents: Sequence[AgentSpec], sessions: Sequence[SessionCreationSpec], quotas: Sequence[QuotaSpec]
    ) -> ClusterSpec:
        spec = cluster(agents, sessions, quotas)
        owners = spec.owners
        others = msgspec.structs.replace(
            owners,
            domains=(*owners.domains, OTHER_DOMAIN),
            projects=(
                *owners.projects,
                ProjectSpec(project_id=OTHER_PROJECT, name="speech", domain_name=OTHER_DOMAIN),
            ),
            users=(*owners.users, UserSpec(user_id=OTHER_USER, name="grace", domain_name=OTHER_DOMAIN)),
            keypairs=(*owners.keypairs, KeypairSpec(access_key=OTHER_KEY, user_id=OTHER_USER)),
        )
        return msgspec.structs.replace(spec, owners=others)
