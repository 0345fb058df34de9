"""Audits: their checks and findings, and the repairs of the agents' counters."""

import enum
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.types import AgentId, SlotName


class AuditCheck(enum.StrEnum):
    """The checks of an audit; each is the statement ``sql/audit/<value>.sql``, to be run in psql too."""

    AGENT_SLOTS_OCCUPIED = "agent_slots_occupied"
    AGENT_CONTAINER_COUNTS = "agent_container_counts"
    AGENT_OVERCOMMITS = "agent_overcommits"
    TERMINATED_AGENTS = "terminated_agents"
    AGENT_HISTORIES = "agent_histories"
    OWNER_SESSIONS = "owner_sessions"
    OWNER_USAGE = "owner_usage"
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


# The findings of these go away by ``repair_counters``.
COUNTER_CHECKS = (AuditCheck.AGENT_SLOTS_OCCUPIED, AuditCheck.AGENT_CONTAINER_COUNTS)
# And of these by ``rebuild_usage``.
USAGE_CHECKS = (AuditCheck.OWNER_USAGE,)


class AuditFinding(msgspec.Struct, frozen=True):
    """A value of one entity that disagrees with the rest of the database; ``what`` is the part that differs.

    Amounts are in the slot's smallest unit.
    """

    check: AuditCheck
    entity: str
    entity_id: str
    what: str
    expected: str
    found: str


class LogLengths(msgspec.Struct, frozen=True):
    """How many rows the logs of changes have, and when somebody last kept them short; they grow until then.

    ``unfolded_rows`` are those of ``usage_rows`` that each read of usage adds up. ``folded_at`` is when rows
    were last folded, ``trimmed_at`` when trimming last moved on, by the database's clock.
    """

    unfolded_rows: int
    usage_rows: int
    change_rows: int
    folded_at: datetime
    trimmed_at: datetime


class AuditReport(msgspec.Struct, frozen=True):
    """The findings of all checks at one instant, in their order; ``observed_at`` is the database's clock."""

    observed_at: datetime
    checks_run: int
    findings: tuple[AuditFinding, ...]
    logs: LogLengths


class DriftedCounter(msgspec.Struct, frozen=True):
    """A counter of an agent that differs from the sum over its kernels, in the slot's smallest unit.

    ``slot_index`` None means the agent's containers; ``slot_name`` is None too where no slot type has the
    index. ``recorded`` None: no row has the counter; ``limit`` None: nothing limits it, or there is no row.
    """

    agent_id: AgentId
    slot_index: Optional[int]
    slot_name: Optional[SlotName]
    recorded: Optional[int]
    held: int
    limit: Optional[int]


class RepairedCounter(msgspec.Struct, frozen=True):
    """A counter that was set to the sum over the agent's kernels; ``slot_name`` None: its containers."""

    agent_id: AgentId
    slot_name: Optional[SlotName]
    before: int
    after: int


class RepairObstacle(enum.StrEnum):
    """Why a counter cannot be set to the sum over the agent's kernels."""

    ABOVE_CAPACITY = "ABOVE_CAPACITY"
    ABOVE_MAX_CONTAINERS = "ABOVE_MAX_CONTAINERS"
    SLOT_NOT_ON_AGENT = "SLOT_NOT_ON_AGENT"  # agent_slots has no row for it
    SLOT_TYPE_UNKNOWN = "SLOT_TYPE_UNKNOWN"  # no slot type has the index
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long


class UnrepairableCounter(msgspec.Struct, frozen=True):
    """A counter that was left as it is, and why; ``locked`` is the row that another transaction has locked."""

    counter: DriftedCounter
    obstacle: RepairObstacle
    locked: Optional[RowLocked] = None


class RepairReport(msgspec.Struct, frozen=True):
    """The outcome of a repair: each counter that had drifted is in one of the two, by agent and slot."""

    repaired: tuple[RepairedCounter, ...]
    unrepairable: tuple[UnrepairableCounter, ...]
