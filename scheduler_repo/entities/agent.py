"""Agents as repositories answer with them."""

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.entities.filtering import SearchFilter
from scheduler_repo.entities.spec import Spec
from scheduler_repo.types import (
    AgentId,
    AgentStatus,
    Architecture,
    ScalingGroupName,
    SlotName,
    TransactionId,
)


class AgentSlot(msgspec.Struct, frozen=True):
    """How much of one slot an agent gives away and has given, in the slot's smallest unit.

    ``reported_capacity`` is what the agent last said of itself: less than ``capacity`` while it runs more
    than it has. None: it never said.
    """

    slot_name: SlotName
    capacity: int
    occupied: int
    reported_capacity: Optional[int]

    @property
    def free(self) -> int:
        """How much of it is not occupied."""
        return self.capacity - self.occupied


class AgentInfo(msgspec.Struct, frozen=True):
    """What lists show of an agent; ``slots`` are those that it has, by slot index.

    It takes kernels if it is ALIVE and ``is_schedulable``, as many as ``max_containers`` at a time (None: no
    limit). ``heartbeat_at`` is when it was last heard of, None: never. Times are the database's clock, in
    UTC; ``observed_at`` is its clock at the read, to tell a silence by.
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
        """Find one slot by name; None if the agent has none of it."""
        return next((slot for slot in self.slots if slot.slot_name == slot_name), None)


class Agent(AgentInfo, frozen=True):
    """One agent, with what lists leave out; ``returns_as`` is what it is when a loss or an excess is over."""

    address: str
    returns_as: AgentStatus
    created_at: datetime


class AgentRejectionCode(enum.StrEnum):
    """Why one agent of a batch was left as it is."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"  # than the lease's
    NOT_ALLOWED = "NOT_ALLOWED"  # from its status, by the table of transitions
    OCCUPIED = "OCCUPIED"  # kernels still occupy it
    SHRUNK = "SHRUNK"  # it has less than what it runs; it takes kernels again when what it runs fits
    INVALID_AMOUNT = "INVALID_AMOUNT"
    UNKNOWN_SLOT = "UNKNOWN_SLOT"
    INVALID_REPORT = "INVALID_REPORT"  # in something else than an amount of a slot


class RejectedAgentTransition(msgspec.Struct, frozen=True):
    """An agent that was left as it is, and why.

    ``status`` is what it has, None if it is unknown or was not looked at; ``detail`` says what was found.
    """

    agent_id: AgentId
    code: AgentRejectionCode
    status: Optional[AgentStatus] = None
    detail: str = ""


class AgentSwitchResult(msgspec.Struct, frozen=True):
    """What became of a batch: each of its agents is in one of the three, in the order given.

    ``unchanged`` were switched so before. A snapshot that includes ``transaction_id`` has seen the change; None
    where nothing was asked.
    """

    is_schedulable: bool
    changed: tuple[AgentId, ...]
    unchanged: tuple[AgentId, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    transaction_id: Optional[TransactionId] = None


class AgentSpec(Spec, frozen=True, kw_only=True):
    """A node with its capacity per slot; slots that it lacks are left out."""

    agent_id: AgentId
    scaling_group: ScalingGroupName
    address: str
    architecture: Architecture
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None


class AgentReport(msgspec.Struct, frozen=True):
    """What an agent has at present: ``capacity`` per slot, in its smallest unit; a slot left out is gone.

    What is None stays as it was registered or last reported.
    """

    agent_id: AgentId
    capacity: Mapping[SlotName, int]
    max_containers: Optional[int] = None
    address: Optional[str] = None
    architecture: Optional[Architecture] = None


class HeartbeatResult(msgspec.Struct, frozen=True):
    """Which agents were recorded as heard of; each of the others is ``unknown`` and was left out.

    Of those recorded, ``returning`` are LOST or TERMINATED: they stay so until they report by return_agents.
    """

    recorded: tuple[AgentId, ...]
    unknown: tuple[AgentId, ...]
    returning: tuple[AgentId, ...]


class AgentTransitionResult(msgspec.Struct, frozen=True):
    """What became of a batch: each of its agents is in one of the three, in the order given.

    ``changed`` have ``to_status`` now. ``deferred`` keep their status, as they are lost, terminated or run more
    than they have; what was asked is stored and holds when they are back, or when what they run fits again. A
    snapshot that includes ``transaction_id`` has seen the change; None where nothing was asked.
    """

    to_status: AgentStatus
    changed: tuple[AgentId, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    deferred: tuple[AgentId, ...] = ()
    transaction_id: Optional[TransactionId] = None


class ShrunkSlot(msgspec.Struct, frozen=True):
    """A slot of which an agent reports less than its kernels occupy; both in the slot's smallest unit."""

    slot_name: SlotName
    occupied: int
    reported: int


class ShrunkContainers(msgspec.Struct, frozen=True):
    """How many kernels occupy an agent that reports to take fewer."""

    occupied: int
    reported: int


class ShrunkAgent(msgspec.Struct, frozen=True):
    """An agent that is smaller than what it runs; ``containers`` is None where those fit."""

    agent_id: AgentId
    slots: tuple[ShrunkSlot, ...]
    containers: Optional[ShrunkContainers] = None


class AgentReportResult(msgspec.Struct, frozen=True):
    """What became of a batch of reports: each agent is alive, draining or rejected, in the order given.

    ``returned`` are those of the first two that were LOST or TERMINATED, ``shrunk`` those of the draining that
    are smaller than what they run.
    """

    alive: tuple[AgentId, ...]
    draining: tuple[AgentId, ...]
    returned: tuple[AgentId, ...]
    shrunk: tuple[ShrunkAgent, ...]
    rejected: tuple[RejectedAgentTransition, ...]
    transaction_id: Optional[TransactionId] = None


class AgentFilter(SearchFilter, frozen=True, kw_only=True):
    """Which agents a search finds: all that is given must hold; None is not asked.

    ``statuses`` are those of which one must be the agent's. A group that does not exist has no agents.
    """

    scaling_group: Optional[ScalingGroupName] = None
    statuses: Optional[tuple[AgentStatus, ...]] = None
    is_schedulable: Optional[bool] = None
    architecture: Optional[Architecture] = None
    id_prefix: Optional[str] = None
