"""The gate of agents' reports: what an agent that returns, grows or shrinks becomes, on locked rows."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Optional

import msgspec

from scheduler_repo.entities.agent import (
    AgentRejectionCode,
    AgentReport,
    AgentReportResult,
    RejectedAgentTransition,
    ShrunkAgent,
    ShrunkContainers,
)
from scheduler_repo.entities.transitions import AGENT_TRANSITIONS, is_allowed
from scheduler_repo.errors import InvalidInput, InvalidQuantity, UnknownSlotType
from scheduler_repo.quoting import quoted
from scheduler_repo.scheduling.admission.agents import (
    GONE_STATUSES,
    AgentStatusChange,
    CapacityChange,
    LockedAgent,
    LockedAgents,
    LockedSlot,
    find_shrunk_slots,
)
from scheduler_repo.slots import slot_vector
from scheduler_repo.types import AgentId, AgentStatus, Architecture, SlotName, TransactionId
from scheduler_repo.validation import Count, check_name, check_range, is_text

_SLOTS_IN_REASON: Final = 3


class AgentFacts(NamedTuple):
    """One row of change_agent_facts.sql."""

    agent_id: AgentId
    address: str
    architecture: Architecture
    max_containers: Optional[int]


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
) -> ReportDecisions:
    """Let the ledger of each agent follow its report, or drain an agent that has less than what it runs."""
    decisions = ReportDecisions()
    found_agents = locked.identify(report.agent_id for report in reports)
    for report, agent in zip(reports, found_agents, strict=True):
        rejection = agent if isinstance(agent, RejectedAgentTransition) else None
        if isinstance(agent, LockedAgent):
            rejection = _find_fault(report, agent, slot_names) or _settle(report, agent, locked, decisions)
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
        detail = (
            f"it cannot become {report.architecture} while kernels for {agent.architecture} occupy it: "
            f"{agent.container_count}"
        )
        return agent.reject(AgentRejectionCode.OCCUPIED, detail)
    return None


def _check_report(report: AgentReport, slot_names: Sequence[SlotName]) -> None:
    subject = f"agent {report.agent_id}"
    capacity: object = report.capacity
    if not isinstance(capacity, Mapping) or not all(map(is_text, capacity)):
        raise InvalidInput(f"{subject}: the capacity is {quoted(capacity)}, it must be amounts by slot name")
    slot_vector(report.capacity, slot_names, subject)
    if report.address is not None:
        check_name(report.address, f"{subject}, address")
    if report.architecture is not None:
        check_name(report.architecture, f"{subject}, architecture")
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
    shrunk = _find_shrunk(
        report, agent, {name: known[name]._replace(reported=amount) for name, amount in amounts.items()}
    )
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
    slots = find_shrunk_slots(reported)
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
