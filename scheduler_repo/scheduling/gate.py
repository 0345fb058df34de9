"""The write gate: which allocations of a batch still hold, decided on rows that are locked."""

from collections.abc import Mapping, Sequence
from typing import Optional

import msgspec

from scheduler_repo.scheduling.allocation import RejectedAllocation, RejectionCode, SessionAllocation
from scheduler_repo.scheduling.data import PendingSession, SchedulableAgent, SchedulingData
from scheduler_repo.scheduling.feasibility import (
    NodeRequest,
    agent_obstacle,
    free_slots,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.owner_ledger import OwnerLedger
from scheduler_repo.types import (
    AgentId,
    ClusterMode,
    KernelId,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    SlotVector,
)


class LockedSession(msgspec.Struct, frozen=True):
    """Where a session of the batch stands now."""

    scaling_group: ScalingGroupName
    status: SessionStatus


class LockedState(msgspec.Struct, frozen=True):
    """All that a batch is judged by, read under its locks.

    ``data`` holds the sessions of the batch that are pending in the group, and the agents of the batch that
    take kernels; the other two say what became of the rest.
    """

    data: SchedulingData
    sessions: Mapping[SessionId, LockedSession]
    known_agents: frozenset[AgentId]


class Decisions(msgspec.Struct):
    """What the gate lets through, and what that adds to each agent."""

    accepted: list[SessionAllocation] = []
    rejected: list[RejectedAllocation] = []
    added_slots: dict[AgentId, SlotVector] = {}
    added_containers: dict[AgentId, int] = {}


def decide(allocations: Sequence[SessionAllocation], state: LockedState) -> Decisions:
    """Judge a batch in its order: what an earlier session takes is gone for a later one."""
    gate = _Gate(state)
    for allocation in allocations:
        gate.judge(allocation)
    return gate.decisions


class _Gate:
    def __init__(self, state: LockedState) -> None:
        self._state = state
        self._pending = {session.session_id: session for session in state.data.pending_sessions}
        self._agents = {agent.agent_id: agent for agent in state.data.agents}
        self._ledger = OwnerLedger(state.data)
        self._seen: set[SessionId] = set()
        self.decisions = Decisions()

    def judge(self, allocation: SessionAllocation) -> None:
        session = self._pending.get(allocation.session_id)
        rejection = (
            self._missing(allocation, session)
            if session is None or allocation.session_id in self._seen
            else self._session_obstacle(allocation, session) or self._take(allocation, session)
        )
        self._seen.add(allocation.session_id)
        if rejection is None:
            self.decisions.accepted.append(allocation)
        else:
            self.decisions.rejected.append(rejection)

    def _missing(self, allocation: SessionAllocation, session: Optional[PendingSession]) -> RejectedAllocation:
        session_id = allocation.session_id
        if session_id in self._seen:
            return RejectedAllocation(session_id, RejectionCode.DUPLICATE)
        locked = self._state.sessions.get(session_id)
        if locked is None:
            return RejectedAllocation(session_id, RejectionCode.SESSION_UNKNOWN)
        if locked.scaling_group != self._state.data.scaling_group.name:
            return RejectedAllocation(session_id, RejectionCode.OTHER_GROUP)
        return RejectedAllocation(session_id, RejectionCode.NOT_PENDING, detail=locked.status)

    def _session_obstacle(
        self, allocation: SessionAllocation, session: PendingSession
    ) -> Optional[RejectedAllocation]:
        session_id = session.session_id
        if not self._state.data.scaling_group.is_active:
            return RejectedAllocation(session_id, RejectionCode.GROUP_INACTIVE)
        given = sorted(kernel.kernel_id for kernel in allocation.kernels)
        if not given or given != sorted(kernel.kernel_id for kernel in session.kernels):
            return RejectedAllocation(session_id, RejectionCode.KERNELS_DIFFER)
        start = start_not_reached(session.requested_start_at, self._state.data.observed_at)
        if start is not None:
            return RejectedAllocation(session_id, RejectionCode.START_NOT_REACHED, detail=start)
        dependency = unmet_dependency(session.dependencies)
        if dependency is not None:
            return RejectedAllocation(session_id, RejectionCode.DEPENDENCY, detail=dependency)
        agent_ids = {kernel.agent_id for kernel in allocation.kernels}
        if session.cluster_mode is ClusterMode.SINGLE_NODE and len(agent_ids) > 1:
            return RejectedAllocation(session_id, RejectionCode.SPREAD)
        return None

    def _take(self, allocation: SessionAllocation, session: PendingSession) -> Optional[RejectedAllocation]:
        """Count the session on its agents and for its owners, or say what stands against it."""
        requested = total_slots(kernel.requested_slots for kernel in session.kernels)
        breach = self._ledger.breach(session, requested)
        if breach is not None:
            return RejectedAllocation(session.session_id, RejectionCode.OWNER_LIMIT, detail=breach)
        requests = _requests_by_agent(allocation, session)
        for agent_id, request in requests.items():
            rejection = self._agent_rejection(session, agent_id, request)
            if rejection is not None:
                return rejection
        self._ledger.charge(session, requested)
        slots, containers = self.decisions.added_slots, self.decisions.added_containers
        for agent_id, request in requests.items():
            slots[agent_id] = total_slots((slots.get(agent_id, ()), request.requested_slots))
            containers[agent_id] = containers.get(agent_id, 0) + request.container_count
        return None

    def _agent_rejection(
        self, session: PendingSession, agent_id: AgentId, request: NodeRequest
    ) -> Optional[RejectedAllocation]:
        agent = self._agents.get(agent_id)
        if agent is None:
            known = agent_id in self._state.known_agents
            code = RejectionCode.AGENT_UNAVAILABLE if known else RejectionCode.AGENT_UNKNOWN
            return RejectedAllocation(session.session_id, code, agent_id)
        obstacle = agent_obstacle(
            request,
            session.designated_agent_ids,
            agent_id=agent_id,
            architecture=agent.architecture,
            free=self._free(agent),
            running=agent.container_count + self.decisions.added_containers.get(agent_id, 0),
            max_containers=agent.max_containers,
        )
        if obstacle is None:
            return None
        return RejectedAllocation(session.session_id, RejectionCode.AGENT, agent_id, obstacle)

    def _free(self, agent: SchedulableAgent) -> SlotVector:
        added = self.decisions.added_slots.get(agent.agent_id, ())
        return free_slots(agent.capacity, total_slots((agent.occupied, added)))


def _requests_by_agent(allocation: SessionAllocation, session: PendingSession) -> dict[AgentId, NodeRequest]:
    """What the session asks of each agent that it is to run on."""
    kernels = {kernel.kernel_id: kernel for kernel in session.kernels}
    placed: dict[AgentId, list[KernelId]] = {}
    for kernel in allocation.kernels:
        placed.setdefault(kernel.agent_id, []).append(kernel.kernel_id)
    return {
        agent_id: NodeRequest(
            total_slots(kernels[kernel_id].requested_slots for kernel_id in kernel_ids),
            len(kernel_ids),
            tuple(sorted({arch for kernel_id in kernel_ids if (arch := kernels[kernel_id].architecture)})),
        )
        for agent_id, kernel_ids in placed.items()
    }
