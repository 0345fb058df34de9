"""The rules of placement once more, as plainly as can be: the oracle of the planner's and the reasons' tests.

It shares no code with the package. Every question is answered by looking at every agent and every owner.
"""

from collections.abc import Iterator, Sequence
from typing import Optional

from scheduler_repo.entities.scheduling_data import (
    PendingKernel,
    PendingSession,
    SchedulableAgent,
    SchedulingData,
)
from scheduler_repo.types import AgentId, ClusterMode, SessionResult, SessionStatus, SlotVector

KernelGroup = Sequence[PendingKernel]


def slot(vector: Sequence[Optional[int]], index: int) -> int:
    value = vector[index] if index < len(vector) else 0
    assert value is not None
    return value


def width_of(*vectors: Sequence[object]) -> int:
    return max(len(vector) for vector in vectors)


def groups_of(session: PendingSession) -> list[KernelGroup]:
    """The kernels that must share an agent: all of them, or each by itself."""
    if session.cluster_mode is ClusterMode.SINGLE_NODE:
        return [session.kernels] if session.kernels else []
    return [[kernel] for kernel in session.kernels]


class NaiveOwner:
    def __init__(
        self,
        scope: str,
        owner_id: str,
        occupied: SlotVector,
        session_count: int,
        slot_limits: Sequence[Optional[int]],
        max_sessions: Optional[int],
        max_kernels: Optional[int],
    ) -> None:
        self.scope = scope
        self.owner_id = owner_id
        self.occupied = dict(enumerate(occupied))
        self.session_count = session_count
        self.slot_limits = {i: limit for i, limit in enumerate(slot_limits) if limit is not None}
        self.max_sessions = max_sessions
        self.max_kernels = max_kernels

    def slots_above_limit(self, session: PendingSession) -> dict[int, tuple[int, int, int]]:
        """Slot index to what is used, requested and allowed."""
        above = {}
        for index, limit in self.slot_limits.items():
            requested = sum(slot(kernel.requested_slots, index) for kernel in session.kernels)
            used = self.occupied.get(index, 0)
            if requested > 0 and used + requested > limit:
                above[index] = (used, requested, limit)
        return above

    def has_too_many_kernels(self, session: PendingSession) -> bool:
        return self.max_kernels is not None and len(session.kernels) > self.max_kernels

    def has_too_many_sessions(self) -> bool:
        return self.max_sessions is not None and self.session_count + 1 > self.max_sessions


class NaiveCluster:
    """The agents and owners of a snapshot, on which placements are counted."""

    def __init__(self, data: SchedulingData) -> None:
        self.data = data
        self.occupied = {agent.agent_id: dict(enumerate(agent.occupied)) for agent in data.agents}
        self.running = {agent.agent_id: agent.container_count for agent in data.agents}
        scopes = (
            ("ACCESS_KEY", data.access_keys),
            ("USER", data.users),
            ("PROJECT", data.projects),
            ("DOMAIN", data.domains),
        )
        self.owners: dict[tuple[str, object], NaiveOwner] = {
            (scope, usage.owner_id): NaiveOwner(
                scope,
                str(usage.owner_id),
                usage.occupied,
                usage.session_count,
                usage.slot_limits,
                usage.max_concurrent_sessions,
                usage.max_kernels_per_session,
            )
            for scope, usages in scopes
            for usage in usages
        }

    def owners_of(self, session: PendingSession) -> list[NaiveOwner]:
        keys: list[tuple[str, object]] = [
            ("ACCESS_KEY", session.access_key),
            ("USER", session.user_id),
            ("PROJECT", session.project_id),
            ("DOMAIN", session.domain_name),
        ]
        return [self.owners[key] for key in keys]

    def eligible(self, session: PendingSession, kernels: KernelGroup) -> list[SchedulableAgent]:
        """The agents that the session's designation and the kernels' architectures leave."""
        return [
            agent
            for agent in self.data.agents
            if (not session.designated_agent_ids or agent.agent_id in session.designated_agent_ids)
            and all(kernel.architecture in (None, agent.architecture) for kernel in kernels)
        ]

    def holds(self, agent: SchedulableAgent, kernels: KernelGroup, *, empty: bool = False) -> bool:
        occupied = {} if empty else self.occupied[agent.agent_id]
        running = 0 if empty else self.running[agent.agent_id]
        if agent.max_containers is not None and running + len(kernels) > agent.max_containers:
            return False
        for index in range(width_of(*(kernel.requested_slots for kernel in kernels))):
            requested = sum(slot(kernel.requested_slots, index) for kernel in kernels)
            if requested > 0 and requested > slot(agent.capacity, index) - occupied.get(index, 0):
                return False
        return True

    def fitting(self, session: PendingSession, kernels: KernelGroup) -> list[SchedulableAgent]:
        return [agent for agent in self.eligible(session, kernels) if self.holds(agent, kernels)]

    def add(self, agent_id: AgentId, kernels: KernelGroup, sign: int = 1) -> None:
        self.running[agent_id] += sign * len(kernels)
        for kernel in kernels:
            for index, amount in enumerate(kernel.requested_slots):
                self.occupied[agent_id][index] = self.occupied[agent_id].get(index, 0) + sign * amount

    def charge(self, session: PendingSession) -> None:
        for owner in self.owners_of(session):
            owner.session_count += 1
            for kernel in session.kernels:
                for index, amount in enumerate(kernel.requested_slots):
                    owner.occupied[index] = owner.occupied.get(index, 0) + amount

    def has_joint_placement(self, session: PendingSession) -> bool:
        """Try every way to spread the kernels."""
        return any(self._placements(session, groups_of(session)))

    def _placements(self, session: PendingSession, groups: Sequence[KernelGroup]) -> Iterator[bool]:
        if not groups:
            yield True
            return
        for agent in self.fitting(session, groups[0]):
            self.add(agent.agent_id, groups[0])
            found = any(self._placements(session, groups[1:]))
            self.add(agent.agent_id, groups[0], sign=-1)
            if found:
                yield True

    def is_held_back(self, session: PendingSession) -> bool:
        """Whether something other than capacity keeps the session waiting."""
        return (
            not self.data.scaling_group.is_active
            or not session.kernels
            or any(
                slot(kernel.requested_slots, index) > 0
                for kernel in session.kernels
                for index in range(len(self.data.slot_types), len(kernel.requested_slots))
            )
            or (session.requested_start_at is not None and session.requested_start_at > self.data.observed_at)
            or any(
                (dependency.status, dependency.result) != (SessionStatus.TERMINATED, SessionResult.SUCCESS)
                for dependency in session.dependencies
            )
            or any(
                owner.has_too_many_kernels(session)
                or owner.has_too_many_sessions()
                or owner.slots_above_limit(session)
                for owner in self.owners_of(session)
            )
        )


def are_alike(session: PendingSession) -> bool:
    """Whether the kernels that need not share an agent ask for the same."""
    groups = groups_of(session)
    return all(
        group[0].requested_slots == groups[0][0].requested_slots
        and group[0].architecture == groups[0][0].architecture
        for group in groups
    )
