"""Agents as repositories answer with them."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.scheduling.agent_life import RejectedAgentTransition
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName, TransactionId


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
