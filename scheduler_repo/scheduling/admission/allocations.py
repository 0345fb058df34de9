"""The gate of allocations: which sessions of a batch may be placed, decided on locked rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Optional, Union

import msgspec

from scheduler_repo.entities.allocation import RejectedAllocation, RejectionCode, SessionAllocation
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.scheduling.rules.feasibility import (
    NO_LOAD,
    Load,
    NodeRequest,
    agent_obstacle,
    requests_by_agent,
    start_not_reached,
    total_slots,
    unmet_dependency,
)
from scheduler_repo.scheduling.rules.quota_accounts import OwnerLedger
from scheduler_repo.scheduling.rules.reservations import StandingReservations
from scheduler_repo.steps import Steps, chunks_taken_from
from scheduler_repo.types import AgentId, ClusterMode, ScalingGroupName, SessionId, SessionStatus


class LockedSession(msgspec.Struct, frozen=True):
    """A session of the batch as its locked row says; ``retry_count`` numbers its attempt.

    ``status`` None is a word that this version does not know, which ``unreadable`` names.
    """

    scaling_group: ScalingGroupName
    status: Optional[SessionStatus]
    retry_count: int
    unreadable: Optional[UnreadableRow] = None


class LockedState(msgspec.Struct, frozen=True):
    """The state that a batch is judged by, read under its locks.

    ``data`` holds the sessions of the batch that are pending in the group, the agents of the batch that take
    kernels, and the group's reservations; the other two hold all sessions and agents of the batch that exist.
    ``blocked_sessions`` and ``blocked_agents`` are those of which another transaction has a row locked: the
    others lack them.
    """

    data: SchedulingData
    sessions: Mapping[SessionId, LockedSession]
    known_agents: frozenset[AgentId]
    blocked_sessions: Mapping[SessionId, RowLocked] = {}
    blocked_agents: Mapping[AgentId, RowLocked] = {}


class Decisions(msgspec.Struct):
    """The allocations that the gate accepts and rejects, and the load that each agent takes on."""

    accepted: list[SessionAllocation] = []
    rejected: list[RejectedAllocation] = []
    added: dict[AgentId, Load] = {}


def decide(allocations: Sequence[SessionAllocation], state: LockedState) -> Steps[Decisions]:
    """Judge a batch in its order: what an earlier session takes is gone for a later one.

    A session that goes where its reservation is has before it what was reserved earlier; anywhere else it is
    judged as any other, beside all that is reserved for others. Placing it ends its reservation. Whoever keeps
    no ``state`` of its own has it freed a little at a time.
    """
    gate = _Gate(state, (yield from StandingReservations.of(state.data.reservations)))
    decisions = Decisions(added=gate.added)
    for allocation in allocations:
        rejection = gate.take(allocation)
        if rejection is None:
            decisions.accepted.append(allocation)
        else:
            decisions.rejected.append(rejection)
        yield
    sessions = [*state.data.pending_sessions]
    del gate
    yield
    del state
    yield
    for _ in chunks_taken_from(sessions):
        yield
    return decisions


class SessionChecks:
    """The obstacles to a session of a batch that are the same for placements and reservations."""

    def __init__(self, state: LockedState) -> None:
        self._state = state
        self._pending = {session.session_id: session for session in state.data.pending_sessions}
        self._agents = {agent.agent_id: agent for agent in state.data.agents}
        self._unreadable = {row.entity_id: row for row in state.data.unreadable}
        self._seen: set[SessionId] = set()

    def find(self, allocation: SessionAllocation) -> Union[PendingSession, RejectedAllocation]:
        """Return the session that an allocation is of, or why it may not be placed, wherever that is."""
        session_id = allocation.session_id
        session, locked = self._pending.get(session_id), self._state.sessions.get(session_id)
        if session_id in self._seen:
            return RejectedAllocation(session_id, RejectionCode.DUPLICATE)
        self._seen.add(session_id)
        blocked = self._state.blocked_sessions.get(session_id)
        if blocked is not None:
            return RejectedAllocation(session_id, RejectionCode.ROW_LOCKED, detail=blocked)
        if session is not None:
            return self._session_obstacle(allocation, session) or session
        if locked is None:
            return RejectedAllocation(session_id, RejectionCode.SESSION_UNKNOWN)
        if locked.scaling_group != self._state.data.scaling_group.name:
            return RejectedAllocation(session_id, RejectionCode.OTHER_GROUP)
        unreadable = locked.unreadable or self._unreadable.get(str(session_id))
        if unreadable is not None:
            return RejectedAllocation(session_id, RejectionCode.UNKNOWN_WORD, detail=unreadable)
        return RejectedAllocation(session_id, RejectionCode.NOT_PENDING, detail=locked.status)

    def agents_obstacle(
        self,
        session: PendingSession,
        requests: Mapping[AgentId, NodeRequest],
        load_beside: Callable[[AgentId], Load],
    ) -> Optional[RejectedAllocation]:
        """Find the first agent that cannot take its part, with ``load_beside`` what runs on it."""
        for agent_id, request in requests.items():
            agent = self._agents.get(agent_id)
            blocked = self._state.blocked_agents.get(agent_id)
            if blocked is not None:
                code = RejectionCode.ROW_LOCKED
                return RejectedAllocation(session.session_id, code, agent_id, blocked)
            if agent is None:
                known = agent_id in self._state.known_agents
                code = RejectionCode.AGENT_UNAVAILABLE if known else RejectionCode.AGENT_UNKNOWN
                return RejectedAllocation(session.session_id, code, agent_id)
            obstacle = agent_obstacle(request, session.designated_agent_ids, agent, load_beside(agent_id))
            if obstacle is not None:
                return RejectedAllocation(session.session_id, RejectionCode.AGENT, agent_id, obstacle)
        return None

    def _session_obstacle(
        self, allocation: SessionAllocation, session: PendingSession
    ) -> Optional[RejectedAllocation]:
        session_id, data = session.session_id, self._state.data
        if not data.scaling_group.is_active:
            return RejectedAllocation(session_id, RejectionCode.GROUP_INACTIVE)
        given = sorted(kernel.kernel_id for kernel in allocation.kernels)
        if not given or given != sorted(kernel.kernel_id for kernel in session.kernels):
            return RejectedAllocation(session_id, RejectionCode.KERNELS_DIFFER)
        start = start_not_reached(session.requested_start_at, data.observed_at)
        if start is not None:
            return RejectedAllocation(session_id, RejectionCode.START_NOT_REACHED, detail=start)
        dependency = unmet_dependency(session.dependencies)
        if dependency is not None:
            return RejectedAllocation(session_id, RejectionCode.DEPENDENCY, detail=dependency)
        agent_ids = {kernel.agent_id for kernel in allocation.kernels}
        if session.cluster_mode is ClusterMode.SINGLE_NODE and len(agent_ids) > 1:
            return RejectedAllocation(session_id, RejectionCode.SPREAD)
        return None


class _Gate:
    def __init__(self, state: LockedState, reservations: StandingReservations) -> None:
        self._checks = SessionChecks(state)
        self._ledger = OwnerLedger(state.data)
        self._reservations = reservations
        self.added: dict[AgentId, Load] = {}

    def take(self, allocation: SessionAllocation) -> Optional[RejectedAllocation]:
        """Count the session on its agents and for its owners, or say what stands against it."""
        session = self._checks.find(allocation)
        if isinstance(session, RejectedAllocation):
            return session
        requested = total_slots(kernel.requested_slots for kernel in session.kernels)
        breach = self._ledger.breach(session, requested)
        if breach is not None:
            return RejectedAllocation(session.session_id, RejectionCode.OWNER_LIMIT, detail=breach)
        requests = requests_by_agent(session, allocation.kernels)
        position = self._reservations.position_of(allocation)
        rejection = self._checks.agents_obstacle(
            session,
            requests,
            lambda agent_id: self._reservations.ahead_of(session.session_id, agent_id, position).plus(
                self.added.get(agent_id, NO_LOAD)
            ),
        )
        if rejection is not None:
            return rejection
        self._ledger.charge(session, requested)
        self._reservations.drop(session.session_id)
        for agent_id, request in requests.items():
            load = Load(request.requested_slots, request.container_count)
            self.added[agent_id] = self.added.get(agent_id, NO_LOAD).plus(load)
        return None
