"""The gate of agents: which of a batch change their status, are opened or closed, or follow their reports."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, Optional, Union

import msgspec

from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentReport,
    AgentReportResult,
    AgentSwitchResult,
    AgentTransitionResult,
    RejectedAgentTransition,
    ShrunkAgent,
    ShrunkContainers,
    ShrunkSlot,
)
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.transitions import AGENT_TRANSITIONS, is_allowed
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import quoted
from scheduler_repo.slots import slot_vector
from scheduler_repo.steps import Steps
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName, TransactionId
from scheduler_repo.validation import Count, check_name, check_range, is_text

_SLOTS_IN_REASON: Final = 3

# An agent in one of these comes back by a report only.
GONE_STATUSES: Final = (AgentStatus.LOST, AgentStatus.TERMINATED)


class AgentStatusChange(NamedTuple):
    """One row of change_agent_statuses.sql; with the status that it has, only ``returns_as`` is stored."""

    agent_id: AgentId
    from_status: AgentStatus
    to_status: AgentStatus
    returns_as: str
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


class AgentFacts(NamedTuple):
    """One row of change_agent_facts.sql."""

    agent_id: AgentId
    address: str
    architecture: Architecture
    max_containers: Optional[int]


class LockedAgents(msgspec.Struct, frozen=True):
    """The agents of a batch under lock, without those that do not exist.

    With a ``lease``, agents of other groups are rejected. ``slots`` and ``kernel_counts`` are there where the
    decision needs them. ``blocked`` are those of which another transaction has a row locked.
    """

    lease: Optional[Lease]
    agents: Mapping[AgentId, Union[LockedAgent, UnreadableRow]]
    slots: Mapping[AgentId, Mapping[SlotName, LockedSlot]] = {}
    kernel_counts: Mapping[AgentId, int] = {}
    blocked: Mapping[AgentId, RowLocked] = {}

    def identify(self, agent_ids: Iterable[AgentId]) -> Iterator[Union[LockedAgent, RejectedAgentTransition]]:
        """Yield the agent for each id, or a rejection if it is repeated, unknown or of another group."""
        seen: set[AgentId] = set()
        for agent_id in agent_ids:
            agent = self.agents.get(agent_id)
            if agent_id in seen:
                yield RejectedAgentTransition(agent_id, AgentRejectionCode.DUPLICATE)
            elif agent_id in self.blocked:
                yield reject_blocked(agent_id, self.blocked[agent_id])
            elif agent is None:
                yield RejectedAgentTransition(agent_id, AgentRejectionCode.AGENT_UNKNOWN)
            elif isinstance(agent, UnreadableRow):
                code = AgentRejectionCode.UNKNOWN_WORD
                yield RejectedAgentTransition(agent_id, code, detail=agent.problem)
            elif self.lease is not None and self.lease.scaling_group != agent.scaling_group:
                detail = f"it is in {agent.scaling_group}, the lease is of {self.lease.scaling_group}"
                yield agent.reject(AgentRejectionCode.OTHER_GROUP, detail)
            else:
                yield agent
            seen.add(agent_id)


def reject_blocked(agent_id: AgentId, row: RowLocked) -> RejectedAgentTransition:
    """Return the rejection of an agent of which another transaction has a row locked."""
    return RejectedAgentTransition(agent_id, AgentRejectionCode.ROW_LOCKED, detail=row.describe(), locked=row)


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
) -> Steps[StatusDecisions]:
    """Decide which agents drain (DRAINING), resume (ALIVE) or end (TERMINATED)."""
    decisions = StatusDecisions()
    for found in locked.identify(agent_ids):
        yield
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
) -> Steps[AgentSwitchResult]:
    """Decide which agents are opened for scheduling, or closed."""
    changed: list[AgentId] = []
    unchanged: list[AgentId] = []
    rejected: list[RejectedAgentTransition] = []
    for found in locked.identify(agent_ids):
        yield
        if isinstance(found, RejectedAgentTransition):
            rejected.append(found)
        else:
            (unchanged if found.is_schedulable is is_schedulable else changed).append(found.agent_id)
    return AgentSwitchResult(is_schedulable, tuple(changed), tuple(unchanged), tuple(rejected), transaction_id)


def _find_shrunk_slots(slots: Mapping[SlotName, LockedSlot]) -> tuple[ShrunkSlot, ...]:
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
        shrunk = _find_shrunk_slots(locked.slots.get(agent.agent_id, {}))
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


class ReportDecisions(msgspec.Struct):
    """The rows that a batch of reports writes, in its order; ``changes`` has all agents but the rejected."""

    changes: list[AgentStatusChange] = []
    facts: list[AgentFacts] = []
    capacity_changes: list[CapacityChange] = []
    shrunk: list[ShrunkAgent] = []
    rejected: list[RejectedAgentTransition] = []

    def result(self, transaction_id: TransactionId) -> AgentReportResult:
        """Return what callers are told of it."""
        return AgentReportResult(
            tuple(change.agent_id for change in self.changes if change.to_status is AgentStatus.ALIVE),
            tuple(change.agent_id for change in self.changes if change.to_status is AgentStatus.DRAINING),
            tuple(change.agent_id for change in self.changes if change.from_status in GONE_STATUSES),
            tuple(self.shrunk),
            tuple(self.rejected),
            transaction_id,
        )


def decide_reports(
    reports: Sequence[AgentReport], locked: LockedAgents, slot_names: Sequence[SlotName]
) -> Steps[ReportDecisions]:
    """Let the ledger of each agent follow its report, or drain an agent that has less than what it runs."""
    decisions = ReportDecisions()
    identified = locked.identify(report.agent_id for report in reports)
    for report, found in zip(reports, identified, strict=True):
        yield
        if isinstance(found, LockedAgent):
            rejection = _find_fault(report, found, slot_names) or _settle(report, found, locked, decisions)
        else:
            rejection = found
        if rejection is not None:
            decisions.rejected.append(rejection)
    return decisions


def _find_fault(
    report: AgentReport, agent: LockedAgent, slot_names: Sequence[SlotName]
) -> Optional[RejectedAgentTransition]:
    try:
        _check_report(report, slot_names)
    except UnknownSlotType as error:
        return agent.reject(AgentRejectionCode.UNKNOWN_SLOT, str(error))
    except InvalidQuantity as error:
        return agent.reject(AgentRejectionCode.INVALID_AMOUNT, str(error))
    except InvalidInput as error:
        return agent.reject(AgentRejectionCode.INVALID_REPORT, str(error))
    if agent.container_count and report.architecture not in (None, agent.architecture):
        kernels = f"kernels for {agent.architecture} occupy it: {agent.container_count}"
        detail = f"it cannot become {report.architecture} while {kernels}"
        return agent.reject(AgentRejectionCode.OCCUPIED, detail)
    return None


def _check_report(report: AgentReport, slot_names: Sequence[SlotName]) -> None:
    subject = f"agent {report.agent_id}"
    capacity: object = report.capacity
    if not isinstance(capacity, Mapping) or not all(map(is_text, capacity)):
        raise InvalidInput(f"{subject}: the capacity is {quoted(capacity)}, it must be amounts by slot name")
    slot_vector(report.capacity, slot_names, subject)
    for text, field in ((report.address, "address"), (report.architecture, "architecture")):
        if text is not None:
            check_name(text, f"{subject}, {field}")
    if report.max_containers is not None:
        check_range(report.max_containers, Count, f"{subject}, max_containers")


def _settle(
    report: AgentReport, agent: LockedAgent, locked: LockedAgents, decisions: ReportDecisions
) -> Optional[RejectedAgentTransition]:
    """Add what becomes of one agent to the decisions, or return why nothing may."""
    slots = locked.slots.get(agent.agent_id, {})
    # A slot that the agent has and does not report counts as reported 0.
    amounts = {name: report.capacity.get(name, 0) for name in sorted({*slots, *report.capacity})}
    known = {name: slots.get(name, LockedSlot(0, 0, None)) for name in amounts}
    reported = {name: known[name]._replace(reported=amount) for name, amount in amounts.items()}
    shrunk = _find_shrunk(report, agent, reported)
    to_status = agent.returns_as if shrunk is None else AgentStatus.DRAINING
    if to_status is not agent.status and not is_allowed(AGENT_TRANSITIONS, agent.status, to_status):
        return agent.reject(AgentRejectionCode.NOT_ALLOWED, f"from {agent.status} to {to_status}")
    reason = None if to_status is agent.status else _reason(agent, shrunk)
    decisions.changes.append(agent.change(to_status, agent.returns_as, reason))
    facts = _merge_facts(report, agent)
    if facts != (agent.agent_id, agent.address, agent.architecture, agent.max_containers):
        decisions.facts.append(facts)
    for name, amount in amounts.items():
        capacity = amount if shrunk is None else known[name].capacity
        if (capacity, amount) != (known[name].capacity, known[name].reported):
            decisions.capacity_changes.append(CapacityChange(agent.agent_id, name, capacity, amount))
    if shrunk is not None:
        decisions.shrunk.append(shrunk)
    return None


def _merge_facts(report: AgentReport, agent: LockedAgent) -> AgentFacts:
    max_containers = agent.max_containers if report.max_containers is None else report.max_containers
    if max_containers is not None:
        # No table holds the reported limit: the stored one comes down as far as what runs lets it.
        max_containers = max(max_containers, agent.container_count)
    return AgentFacts(
        agent.agent_id,
        agent.address if report.address is None else report.address,
        agent.architecture if report.architecture is None else report.architecture,
        max_containers,
    )


def _find_shrunk(
    report: AgentReport, agent: LockedAgent, reported: Mapping[SlotName, LockedSlot]
) -> Optional[ShrunkAgent]:
    slots = _find_shrunk_slots(reported)
    containers: Optional[ShrunkContainers] = None
    if report.max_containers is not None and report.max_containers < agent.container_count:
        containers = ShrunkContainers(agent.container_count, report.max_containers)
    if not slots and containers is None:
        return None
    return ShrunkAgent(agent.agent_id, slots, containers)


def _reason(agent: LockedAgent, shrunk: Optional[ShrunkAgent]) -> str:
    if shrunk is None:
        return "heard again" if agent.status in GONE_STATUSES else "what it runs fits again"
    short = [
        f"{slot.slot_name}: occupied {slot.occupied}, reported {slot.reported}"
        for slot in shrunk.slots[:_SLOTS_IN_REASON]
    ]
    if shrunk.containers is not None:
        short.append(f"containers: {shrunk.containers.occupied}, reported {shrunk.containers.reported}")
    return f"it has less than what it runs; {'; '.join(short)}"
