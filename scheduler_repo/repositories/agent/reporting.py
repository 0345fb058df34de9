"""The statements that take what agents report of themselves: they return, grow, shrink, or are as they were."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Optional, Union

from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.lookups import SLOT_TYPES
from scheduler_repo.database.statements import expect_rows, fetch_rows, load_statement
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
from scheduler_repo.repositories.agent.locking import (
    AgentChange,
    CapacityChange,
    LockedAgent,
    LockedSlot,
    batch_rejection,
    is_text,
    lock_agents,
    lock_slots,
    shrunk_slots,
    write_capacity,
    write_statuses,
)
from scheduler_repo.scheduling.snapshot.build import slot_types_by_index
from scheduler_repo.slots import checked_int32, checked_quantity, slot_vector
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName

RECORD_HEARTBEATS = load_statement("agent/record_heartbeats")
CHANGE_AGENT_FACTS = load_statement("agent/change_agent_facts")

_SLOTS_IN_REASON = 3


class _Facts(NamedTuple):
    """One row of change_agent_facts.sql."""

    agent_id: AgentId
    address: str
    architecture: Architecture
    max_containers: Optional[int]


class _Settled(NamedTuple):
    """What becomes of one agent by its report."""

    change: AgentChange
    facts: _Facts
    capacity_changes: list[CapacityChange]
    shrunk: Optional[ShrunkAgent]


async def report_batch(
    write: WriteTransaction, reports: Sequence[AgentReport], scaling_group: Optional[ScalingGroupName]
) -> AgentReportResult:
    """Take what may be taken of a batch; costs seven statements, whatever the number of agents and slots."""
    db_sess = write.db_sess
    slot_types = slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))
    slot_names = [slot_type.name for slot_type in slot_types]
    agents = await lock_agents(db_sess, [report.agent_id for report in reports])
    slots = await lock_slots(db_sess, agents)
    settled: list[_Settled] = []
    rejected: list[RejectedAgentTransition] = []
    seen: set[AgentId] = set()
    for report in reports:
        rejection = batch_rejection(report.agent_id, agents, seen, scaling_group)
        judged = rejection or _judged(
            report, agents[report.agent_id], slots.get(report.agent_id, {}), slot_names
        )
        if isinstance(judged, RejectedAgentTransition):
            rejected.append(judged)
        else:
            settled.append(judged)
    await _write(write, settled, agents)
    changes = [each.change for each in settled]
    return AgentReportResult(
        _with_status(changes, AgentStatus.ALIVE),
        _with_status(changes, AgentStatus.DRAINING),
        tuple(change.agent_id for change in changes if _is_gone(change.from_status)),
        tuple(each.shrunk for each in settled if each.shrunk is not None),
        tuple(rejected),
        write.transaction_id,
    )


async def _write(
    write: WriteTransaction, settled: Sequence[_Settled], agents: Mapping[AgentId, LockedAgent]
) -> None:
    db_sess = write.db_sess
    await write_statuses(
        db_sess, [each.change for each in settled if each.change.to_status is not each.change.from_status]
    )
    facts = [each.facts for each in settled if each.facts != _facts_of(agents[each.facts.agent_id])]
    await expect_rows(
        db_sess,
        len(facts),
        CHANGE_AGENT_FACTS,
        [each.agent_id for each in facts],
        [each.address for each in facts],
        [each.architecture for each in facts],
        [each.max_containers for each in facts],
    )
    await write_capacity(db_sess, [change for each in settled for change in each.capacity_changes])
    # Who reports is heard of: else a lost agent that has just returned would be lost again at once.
    heard = sorted(each.facts.agent_id for each in settled)
    await expect_rows(db_sess, len(heard), RECORD_HEARTBEATS, heard)


def _with_status(changes: Iterable[AgentChange], status: AgentStatus) -> tuple[AgentId, ...]:
    return tuple(change.agent_id for change in changes if change.to_status is status)


def _is_gone(status: AgentStatus) -> bool:
    return status in (AgentStatus.LOST, AgentStatus.TERMINATED)


def _facts_of(agent: LockedAgent) -> _Facts:
    return _Facts(agent.agent_id, agent.address, agent.architecture, agent.max_containers)


def _judged(
    report: AgentReport,
    agent: LockedAgent,
    slots: Mapping[SlotName, LockedSlot],
    slot_names: Sequence[SlotName],
) -> Union[_Settled, RejectedAgentTransition]:
    try:
        _check(report, slot_names)
    except UnknownSlotType as error:
        return _refused(agent, AgentRejectionCode.UNKNOWN_SLOT, error)
    except InvalidQuantity as error:
        return _refused(agent, AgentRejectionCode.INVALID_AMOUNT, error)
    except InvalidInput as error:
        return _refused(agent, AgentRejectionCode.INVALID_REPORT, error)
    if agent.container_count and report.architecture not in (None, agent.architecture):
        return RejectedAgentTransition(
            agent.agent_id,
            AgentRejectionCode.OCCUPIED,
            agent.status,
            f"it cannot become {report.architecture} while kernels for {agent.architecture} occupy it: "
            f"{agent.container_count}",
        )
    settled = _settled(report, agent, slots)
    to_status = settled.change.to_status
    if to_status is not agent.status and not is_allowed(AGENT_TRANSITIONS, agent.status, to_status):
        return RejectedAgentTransition(
            agent.agent_id,
            AgentRejectionCode.NOT_ALLOWED,
            agent.status,
            f"from {agent.status} to {to_status}",
        )
    return settled


def _check(report: AgentReport, slot_names: Sequence[SlotName]) -> None:
    subject = f"agent {report.agent_id}"
    _check_names(report.capacity, subject)
    slot_vector(report.capacity, slot_names, subject)
    for name, text in (("address", report.address), ("architecture", report.architecture)):
        if text is not None and (not is_text(text) or not text or "\0" in text):
            raise InvalidInput(f"{subject}: the {name} is {quoted(text)}, it must be a text")
    if report.max_containers is not None:
        containers = f"{subject}, max_containers"
        try:
            checked_int32(checked_quantity(report.max_containers, containers), containers)
        except InvalidQuantity as error:
            raise InvalidInput(str(error)) from error


def _check_names(capacity: object, subject: str) -> None:
    if not isinstance(capacity, Mapping) or not all(map(is_text, capacity)):
        raise InvalidInput(f"{subject}: the capacity is {quoted(capacity)}, it must be amounts by slot name")


def _refused(agent: LockedAgent, code: AgentRejectionCode, error: InvalidInput) -> RejectedAgentTransition:
    return RejectedAgentTransition(agent.agent_id, code, agent.status, str(error))


def _settled(report: AgentReport, agent: LockedAgent, slots: Mapping[SlotName, LockedSlot]) -> _Settled:
    """Let the ledger follow the report, or drain an agent that has less than what it runs."""
    amounts = {name: report.capacity.get(name, 0) for name in sorted({*slots, *report.capacity})}
    reported = {
        name: slots.get(name, LockedSlot(0, 0, None))._replace(reported=amount)
        for name, amount in amounts.items()
    }
    shrunk = _shrunk(agent, report, reported)
    capacity_changes = [
        CapacityChange(agent.agent_id, name, amount if shrunk is None else reported[name].capacity, amount)
        for name, amount in amounts.items()
    ]
    max_containers = agent.max_containers if report.max_containers is None else report.max_containers
    if max_containers is not None:
        # No table holds what was reported of these: the limit comes down as far as what runs lets it.
        max_containers = max(max_containers, agent.container_count)
    to_status = agent.returns_as if shrunk is None else AgentStatus.DRAINING
    return _Settled(
        AgentChange(
            agent.agent_id, agent.status, to_status, agent.returns_as, _reason(agent, to_status, shrunk)
        ),
        _Facts(
            agent.agent_id,
            agent.address if report.address is None else report.address,
            agent.architecture if report.architecture is None else report.architecture,
            max_containers,
        ),
        [
            change
            for change in capacity_changes
            if (known := slots.get(change.slot_name)) is None
            or (change.capacity, change.reported) != (known.capacity, known.reported)
        ],
        shrunk,
    )


def _shrunk(
    agent: LockedAgent, report: AgentReport, reported: Mapping[SlotName, LockedSlot]
) -> Optional[ShrunkAgent]:
    slots = shrunk_slots(reported)
    containers: Optional[ShrunkContainers] = None
    if report.max_containers is not None and report.max_containers < agent.container_count:
        containers = ShrunkContainers(agent.container_count, report.max_containers)
    if not slots and containers is None:
        return None
    return ShrunkAgent(agent.agent_id, slots, containers)


def _reason(agent: LockedAgent, to_status: AgentStatus, shrunk: Optional[ShrunkAgent]) -> Optional[str]:
    if to_status is agent.status:
        return None
    if shrunk is None:
        return "heard again" if _is_gone(agent.status) else "what it runs fits again"
    short = [
        f"{slot.slot_name}: occupied {slot.occupied}, reported {slot.reported}"
        for slot in shrunk.slots[:_SLOTS_IN_REASON]
    ]
    if shrunk.containers is not None:
        short.append(f"containers: {shrunk.containers.occupied}, reported {shrunk.containers.reported}")
    return f"it has less than what it runs; {'; '.join(short)}"
