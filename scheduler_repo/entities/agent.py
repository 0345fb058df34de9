"""Agents: the nodes that run kernels, what they report of themselves, and what becomes of a batch of them."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.spec import SearchFilter, Spec
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName, TransactionId


class AgentSlot(msgspec.Struct, frozen=True):
    """One slot of an agent, in the slot's smallest unit; ``occupied`` by kernels.

    ``reported_capacity`` was reported last (None: not yet): less than ``capacity`` while more runs than it has.
    """

    slot_name: SlotName
    capacity: int
    occupied: int
    reported_capacity: Optional[int]

    @property
    def free(self) -> int:
        """The amount that is not occupied."""
        return self.capacity - self.occupied


class AgentInfo(msgspec.Struct, frozen=True):
    """An agent as lists show it; ``slots`` are by slot index, ``max_containers`` None is no limit.

    It takes kernels if it is ALIVE and ``is_schedulable``. Times are the database's clock, in UTC; the agent's
    silence is from ``heartbeat_at`` (None: never heard of) to ``observed_at``, that clock at the read.
    """

    agent_id: AgentId
    scaling_group: ScalingGroupName
    status: AgentStatus
    is_schedulable: bool
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]
    status_changed_at: datetime
    heartbeat_at: Optional[datetime]
    observed_at: datetime
    slots: tuple[AgentSlot, ...]

    def find_slot(self, slot_name: SlotName) -> Optional[AgentSlot]:
        """Return one slot by name, or None if the agent does not have it."""
        return next((slot for slot in self.slots if slot.slot_name == slot_name), None)


class Agent(AgentInfo, frozen=True):
    """An agent in full; ``returns_as`` is its status when it is back from a loss and all that it runs fits."""

    address: str
    returns_as: AgentStatus
    created_at: datetime


class AgentRejectionCode(enum.StrEnum):
    """The reasons for which a batch leaves one of its agents as it is."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"  # than the lease's
    NOT_ALLOWED = "NOT_ALLOWED"  # from its status, by the table of transitions
    OCCUPIED = "OCCUPIED"  # kernels still occupy it
    SHRUNK = "SHRUNK"  # it has less than what it runs
    INVALID_AMOUNT = "INVALID_AMOUNT"
    UNKNOWN_SLOT = "UNKNOWN_SLOT"
    UNKNOWN_WORD = "UNKNOWN_WORD"  # a newer version has stored one of the agent; the detail names it
    INVALID_REPORT = "INVALID_REPORT"  # in anything but a slot's amount
    ROW_LOCKED = "ROW_LOCKED"  # by another transaction, for too long; ``locked`` names row and holder


class RejectedAgentTransition(msgspec.Struct, frozen=True):
    """An agent of a batch that was left as it is; ``status`` None if it is unknown or was not looked at.

    ``locked`` is the row that another transaction has locked, if that is the reason.
    """

    agent_id: AgentId
    code: AgentRejectionCode
    status: Optional[AgentStatus] = None
    detail: str = ""
    locked: Optional[RowLocked] = None


class AgentSwitchResult(msgspec.Struct, frozen=True):
    """The outcome of a batch: each agent is in one of three tuples; ``unchanged`` were switched so before."""

    is_schedulable: bool
    changed: tuple[AgentId, ...]
    unchanged: tuple[AgentId, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    transaction_id: Optional[TransactionId] = None


class AgentSpec(Spec, frozen=True, kw_only=True):
    """An agent to register, with its capacity per slot; leave out the slots that it lacks."""

    agent_id: AgentId
    scaling_group: ScalingGroupName
    address: str
    architecture: Architecture
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None


class AgentReport(msgspec.Struct, frozen=True):
    """An agent's report of itself; a slot left out of ``capacity`` is gone, a field that is None stays."""

    agent_id: AgentId
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None
    address: Optional[str] = None
    architecture: Optional[Architecture] = None


class HeartbeatResult(msgspec.Struct, frozen=True):
    """The agents heard of; ``returning`` ones among them are LOST or TERMINATED until ``return_agents``.

    ``rejected`` ones were not recorded: another transaction has a row locked, as ROW_LOCKED says.
    """

    recorded: tuple[AgentId, ...]
    unknown: tuple[AgentId, ...]
    returning: tuple[AgentId, ...]
    rejected: tuple[RejectedAgentTransition, ...] = ()


class AgentTransitionResult(msgspec.Struct, frozen=True):
    """The outcome of a batch: each agent is in one of three tuples, in the order given.

    ``changed`` have ``to_status`` now. ``deferred`` keep their status, because they are lost, terminated or run
    more than they have; they get ``to_status`` when they are back, or when all that they run fits again.
    """

    to_status: AgentStatus
    changed: tuple[AgentId, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    deferred: tuple[AgentId, ...] = ()
    transaction_id: Optional[TransactionId] = None


class ShrunkSlot(msgspec.Struct, frozen=True):
    """A slot of which an agent reported less than its kernels occupy; both in the slot's smallest unit."""

    slot_name: SlotName
    occupied: int
    reported: int


class ShrunkContainers(msgspec.Struct, frozen=True):
    """The number of kernels on an agent that reported a lower limit."""

    occupied: int
    reported: int


class ShrunkAgent(msgspec.Struct, frozen=True):
    """An agent that has less than what it runs; ``containers`` is None if their number fits."""

    agent_id: AgentId
    slots: tuple[ShrunkSlot, ...]
    containers: Optional[ShrunkContainers] = None


class AgentReportResult(msgspec.Struct, frozen=True):
    """The outcome of a batch of reports: each agent is alive, draining or rejected, in the order given.

    ``returned`` ones were LOST or TERMINATED, ``shrunk`` ones drain because they have less than what they run.
    """

    alive: tuple[AgentId, ...]
    draining: tuple[AgentId, ...]
    returned: tuple[AgentId, ...]
    shrunk: tuple[ShrunkAgent, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    transaction_id: Optional[TransactionId] = None


class AgentFilter(SearchFilter, frozen=True, kw_only=True):
    """The fields by which a search of agents is narrowed; a group that does not exist has no agents."""

    scaling_group: Optional[ScalingGroupName] = None
    statuses: Optional[tuple[AgentStatus, ...]] = None
    is_schedulable: Optional[bool] = None
    architecture: Optional[Architecture] = None
    id_prefix: Optional[str] = None
