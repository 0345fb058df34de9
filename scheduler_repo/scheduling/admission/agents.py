"""The gate of agents: which of a batch change their status, or are opened or closed, on locked rows."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Optional, Union

import msgspec

from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentSwitchResult,
    AgentTransitionResult,
    RejectedAgentTransition,
    ShrunkSlot,
)
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.transitions import AGENT_TRANSITIONS, is_allowed
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName, TransactionId

# An agent in one of these comes back by a report only.
GONE_STATUSES: Final = (AgentStatus.LOST, AgentStatus.TERMINATED)


class AgentStatusChange(NamedTuple):
    """One row of change_agent_statuses.sql; with the status that it has, only ``returns_as`` is stored."""

    agent_id: AgentId
    from_status: AgentStatus
    to_status: AgentStatus
    returns_as: AgentStatus
    reason: Optional[str]

    @property
    def is_deferred(self) -> bool:
        """Whether the agent keeps its status."""
        return self.to_status is self.from_status


class LockedAgent(NamedTuple):
    """One row of lock_agent_lives.sql.

    ``returns_as`` is what the operators want the agent to be whenever it is there and all that it runs fits.
    """

    agent_id: AgentId
    scaling_group: ScalingGroupName
    status: AgentStatus
    returns_as: AgentStatus
    address: str
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]
    is_schedulable: bool

    def change(
        self, to_status: AgentStatus, returns_as: AgentStatus, reason: Optional[str]
    ) -> AgentStatusChange:
        """Return the change to a status, or of ``returns_as`` alone if the status is the agent's own."""
        return AgentStatusChange(self.agent_id, self.status, to_status, returns_as, reason)

    def reject(self, code: AgentRejectionCode, detail: str) -> RejectedAgentTransition:
        """Return the rejection of what was asked of the agent."""
        return RejectedAgentTransition(self.agent_id, code, self.status, detail)

    def reject_transition(self, to_status: AgentStatus) -> RejectedAgentTransition:
        """Return the rejection of a status that may not follow the agent's."""
        detail = f"from {self.status} to {to_status}"
        if self.status is not to_status and self.returns_as is to_status:
            detail = f"it is {self.status}, and returns as {self.returns_as} already"
        return self.reject(AgentRejectionCode.NOT_ALLOWED, detail)


class LockedSlot(NamedTuple):
    """One row of lock_agent_reports.sql without its keys; ``reported`` is None if the agent never reported."""

    capacity: int
    occupied: int
    reported: Optional[int]


class CapacityChange(NamedTuple):
    """One row of change_agent_capacity.sql."""

    agent_id: AgentId
    slot_name: SlotName
    capacity: int
    reported: int


class LockedAgents(msgspec.Struct, frozen=True):
    """The agents of a batch under lock, without those that do not exist.

    With a ``lease``, agents of other groups are rejected. ``slots`` and ``kernel_counts`` are there where the
    decision needs them.
    """

    lease: Optional[Lease]
    agents: Mapping[AgentId, LockedAgent]
    slots: Mapping[AgentId, Mapping[SlotName, LockedSlot]] = {}
    kernel_counts: Mapping[AgentId, int] = {}

    def identify(self, agent_ids: Iterable[AgentId]) -> Iterator[Union[LockedAgent, RejectedAgentTransition]]:
        """Yield the agent for each id, or a rejection if it is repeated, unknown or of another group."""
        seen: set[AgentId] = set()
        for agent_id in agent_ids:
            agent = self.agents.get(agent_id)
            if agent_id in seen:
                yield RejectedAgentTransition(agent_id, AgentRejectionCode.DUPLICATE)
            elif agent is None:
                yield RejectedAgentTransition(agent_id, AgentRejectionCode.AGENT_UNKNOWN)
            elif self.lease is not None and self.lease.scaling_group != agent.scaling_group:
                detail = f"it is in {agent.scaling_group}, the lease is of {self.lease.scaling_group}"
                yield agent.reject(AgentRejectionCode.OTHER_GROUP, detail)
            else:
                yield agent
            seen.add(agent_id)


class StatusDecisions(msgspec.Struct):
    """The rows that a batch of status changes writes, in its order."""

    changes: list[AgentStatusChange] = []
    capacity_changes: list[CapacityChange] = []
    rejected: list[RejectedAgentTransition] = []

    def result(self, to_status: AgentStatus, transaction_id: TransactionId) -> AgentTransitionResult:
        """Return what callers are told of it."""
        return AgentTransitionResult(
            to_status,
            tuple(change.agent_id for change in self.changes if not change.is_deferred),
            tuple(self.rejected),
            tuple(change.agent_id for change in self.changes if change.is_deferred),
            transaction_id,
        )


def decide_status_changes(
    agent_ids: Iterable[AgentId], to_status: AgentStatus, reason: Optional[str], locked: LockedAgents
) -> StatusDecisions:
    """Decide which agents drain (DRAINING), resume (ALIVE) or end (TERMINATED)."""
    decisions = StatusDecisions()
    for found in locked.identify(agent_ids):
        decided = _decide_change(found, to_status, reason, locked) if isinstance(found, LockedAgent) else found
        if isinstance(decided, RejectedAgentTransition):
            decisions.rejected.append(decided)
            continue
        decisions.changes.append(decided)
        if decided.to_status is AgentStatus.ALIVE:
            # An amount that was reported while the agent ran more than that becomes its capacity now.
            decisions.capacity_changes.extend(
                CapacityChange(decided.agent_id, name, slot.reported, slot.reported)
                for name, slot in sorted(locked.slots.get(decided.agent_id, {}).items())
                if slot.reported is not None and slot.reported != slot.capacity
            )
    return decisions


def decide_switches(
    agent_ids: Iterable[AgentId], is_schedulable: bool, locked: LockedAgents, transaction_id: TransactionId
) -> AgentSwitchResult:
    """Decide which agents are opened for scheduling, or closed."""
    changed: list[AgentId] = []
    unchanged: list[AgentId] = []
    rejected: list[RejectedAgentTransition] = []
    for found in locked.identify(agent_ids):
        if isinstance(found, RejectedAgentTransition):
            rejected.append(found)
        else:
            (unchanged if found.is_schedulable is is_schedulable else changed).append(found.agent_id)
    return AgentSwitchResult(is_schedulable, tuple(changed), tuple(unchanged), tuple(rejected), transaction_id)


def find_shrunk_slots(slots: Mapping[SlotName, LockedSlot]) -> tuple[ShrunkSlot, ...]:
    """Find the slots of which kernels occupy more than the agent last reported, by name."""
    return tuple(
        ShrunkSlot(name, slot.occupied, slot.reported)
        for name, slot in sorted(slots.items())
        if slot.reported is not None and slot.reported < slot.occupied
    )


def _decide_change(
    agent: LockedAgent, to_status: AgentStatus, reason: Optional[str], locked: LockedAgents
) -> Union[AgentStatusChange, RejectedAgentTransition]:
    """Decide for one agent; what cannot be yet is deferred until it is back, or what it runs fits."""
    can_change = is_allowed(AGENT_TRANSITIONS, agent.status, to_status)
    if to_status is AgentStatus.TERMINATED:
        kernels = locked.kernel_counts.get(agent.agent_id, 0)
        if not can_change:
            return agent.reject_transition(to_status)
        if kernels:
            detail = f"kernels that occupy it: {kernels}; end them, or recover the sessions of a lost agent"
            return agent.reject(AgentRejectionCode.OCCUPIED, detail)
        return agent.change(to_status, agent.returns_as, reason)
    if can_change and agent.status not in GONE_STATUSES:
        shrunk = find_shrunk_slots(locked.slots.get(agent.agent_id, {}))
        if to_status is AgentStatus.DRAINING or not shrunk:
            return agent.change(to_status, to_status, reason)
        if agent.returns_as is to_status:
            detail = (
                f"slot {shrunk[0].slot_name}: occupied {shrunk[0].occupied}, reported {shrunk[0].reported}; "
                "it takes kernels again when what it runs fits"
            )
            return agent.reject(AgentRejectionCode.SHRUNK, detail)
    elif agent.returns_as is to_status:
        return agent.reject_transition(to_status)
    return agent.change(agent.status, to_status, reason)
