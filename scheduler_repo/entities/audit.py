"""What an audit finds, and what a repair of the counters did."""

import enum
from datetime import datetime
from typing import Optional, Union

import msgspec

from scheduler_repo.types import AgentId, SlotName


class AuditCheck(enum.StrEnum):
    """What is checked; each is the statement ``sql/audit/<value>.sql``, to be run in psql too."""

    AGENT_SLOTS_OCCUPIED = "agent_slots_occupied"
    AGENT_CONTAINER_COUNTS = "agent_container_counts"
    AGENT_OVERCOMMITS = "agent_overcommits"
    TERMINATED_AGENTS = "terminated_agents"
    AGENT_HISTORIES = "agent_histories"
    OWNER_SESSIONS = "owner_sessions"
    SESSIONS_WITHOUT_KERNELS = "sessions_without_kernels"
    SESSION_HISTORIES = "session_histories"
    UNFINISHED_RESULTS = "unfinished_results"
    PENDING_DISPATCHES = "pending_dispatches"
    UNMARKED_DEPENDENCIES = "unmarked_dependencies"
    SPREAD_SESSIONS = "spread_sessions"
    KERNEL_STATUSES = "kernel_statuses"
    KERNEL_OWNERS = "kernel_owners"
    KERNEL_ARCHITECTURES = "kernel_architectures"
    KERNELS_WITHOUT_AGENT = "kernels_without_agent"
    KERNELS_ABOVE_REQUEST = "kernels_above_request"
    UNDESIGNATED_AGENTS = "undesignated_agents"
    PENDING_KERNELS_PLACED = "pending_kernels_placed"
    RESERVED_SESSIONS = "reserved_sessions"
    RESERVED_KERNELS = "reserved_kernels"
    OPERATIONS_WITHOUT_RESULT = "operations_without_result"


# What ``repair_counters`` can mend.
COUNTER_CHECKS = (AuditCheck.AGENT_SLOTS_OCCUPIED, AuditCheck.AGENT_CONTAINER_COUNTS)


class AuditFinding(msgspec.Struct, frozen=True):
    """One thing that is not as the rest of the database says; amounts are in the slot's smallest unit.

    ``entity`` says what ``entity_id`` is the id of, ``what`` what of it differs.
    """

    check: AuditCheck
    entity: str
    entity_id: str
    what: str
    expected: str
    found: str


class AuditReport(msgspec.Struct, frozen=True):
    """What all checks found at one instant, in their order; ``observed_at`` is the database's clock."""

    observed_at: datetime
    checks_run: int
    findings: tuple[AuditFinding, ...]


class DriftedCounter(msgspec.Struct, frozen=True):
    """A counter of an agent that is not what its kernels hold, in the slot's smallest unit.

    ``slot_index`` None means the agent's containers; ``slot_name`` is None too where no slot type has the
    index. ``recorded`` is the counter, None where there is no row for it; ``held`` is what the kernels hold,
    ``limit`` what the agent has, None where nothing limits or there is no row.
    """

    agent_id: AgentId
    slot_index: Optional[int]
    slot_name: Optional[SlotName]
    recorded: Optional[int]
    held: int
    limit: Optional[int]


class RepairedCounter(msgspec.Struct, frozen=True):
    """A counter that was set to what the agent's kernels hold, in the slot's smallest unit.

    ``slot_name`` None means the agent's containers.
    """

    agent_id: AgentId
    slot_name: Optional[SlotName]
    before: int
    after: int


class RepairObstacle(enum.StrEnum):
    """Why a counter cannot say what the agent's kernels hold."""

    ABOVE_CAPACITY = "ABOVE_CAPACITY"
    ABOVE_MAX_CONTAINERS = "ABOVE_MAX_CONTAINERS"
    SLOT_NOT_ON_AGENT = "SLOT_NOT_ON_AGENT"  # agent_slots has no row for it
    SLOT_TYPE_UNKNOWN = "SLOT_TYPE_UNKNOWN"  # no slot type has the index
    AGENT_UNKNOWN = "AGENT_UNKNOWN"


class UnrepairableCounter(msgspec.Struct, frozen=True):
    """A counter that was left as it is, and why: no row may say what the agent's kernels hold."""

    counter: DriftedCounter
    obstacle: RepairObstacle


class RepairReport(msgspec.Struct, frozen=True):
    """What became of the counters that had drifted: each is in one of the two, by agent and slot."""

    repaired: tuple[RepairedCounter, ...]
    unrepairable: tuple[UnrepairableCounter, ...]


def repair_counter(counter: DriftedCounter) -> Union[RepairedCounter, UnrepairableCounter]:
    """Say what a drifted counter is to be set to, or why it cannot be; nothing is clamped."""
    recorded, limit = counter.recorded, counter.limit
    if counter.slot_index is not None and counter.slot_name is None:
        return UnrepairableCounter(counter, RepairObstacle.SLOT_TYPE_UNKNOWN)
    is_slot = counter.slot_index is not None
    if recorded is None:
        missing = RepairObstacle.SLOT_NOT_ON_AGENT if is_slot else RepairObstacle.AGENT_UNKNOWN
        return UnrepairableCounter(counter, missing)
    if limit is not None and counter.held > limit:
        above = RepairObstacle.ABOVE_CAPACITY if is_slot else RepairObstacle.ABOVE_MAX_CONTAINERS
        return UnrepairableCounter(counter, above)
    return RepairedCounter(counter.agent_id, counter.slot_name, recorded, counter.held)
