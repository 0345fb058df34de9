"""A tick's decisions: where each kernel of a session goes, and what the database made of it."""

import enum
from typing import Optional, Union

import msgspec

from scheduler_repo.scheduling.data import SessionDependency
from scheduler_repo.scheduling.feasibility import AgentObstacle, StartNotReached
from scheduler_repo.scheduling.owner_ledger import OwnerBreach
from scheduler_repo.types import AgentId, KernelId, SessionId, SessionStatus, TransactionId


class KernelAllocation(msgspec.Struct, frozen=True, gc=False):
    """One kernel and the agent that is to run it."""

    kernel_id: KernelId
    agent_id: AgentId


class SessionAllocation(msgspec.Struct, frozen=True, gc=False):
    """The placement of one session: every one of its kernels, or it is rejected."""

    session_id: SessionId
    kernels: tuple[KernelAllocation, ...]


class RejectionCode(enum.StrEnum):
    """Why one session of a batch was not placed."""

    DUPLICATE = "DUPLICATE"  # the batch names it twice; the first stands
    SESSION_UNKNOWN = "SESSION_UNKNOWN"
    OTHER_GROUP = "OTHER_GROUP"
    GROUP_INACTIVE = "GROUP_INACTIVE"
    NOT_PENDING = "NOT_PENDING"  # any more; another scheduler was first, or it was cancelled
    KERNELS_DIFFER = "KERNELS_DIFFER"  # not exactly its pending kernels, each once
    AGENT_UNKNOWN = "AGENT_UNKNOWN"
    AGENT_UNAVAILABLE = "AGENT_UNAVAILABLE"  # lost, draining, closed or of another group
    SPREAD = "SPREAD"  # a single-node session on several agents
    AGENT = "AGENT"  # the agent cannot take it; the detail says what is short
    OWNER_LIMIT = "OWNER_LIMIT"
    DEPENDENCY = "DEPENDENCY"
    START_NOT_REACHED = "START_NOT_REACHED"


class RejectedAllocation(msgspec.Struct, frozen=True):
    """A session that was not placed, and why.

    ``agent_id`` is set where one agent is the reason; ``detail`` names amounts, limits, the other session or
    its own status.
    """

    session_id: SessionId
    code: RejectionCode
    agent_id: Optional[AgentId] = None
    detail: Union[AgentObstacle, OwnerBreach, SessionDependency, StartNotReached, SessionStatus, None] = None


class AllocationResult(msgspec.Struct, frozen=True):
    """What became of a batch: each of its sessions is in one of the two, in the order given.

    The next read must have seen ``transaction_id`` (``SchedulingData.has_seen``), or it decides on what was
    before; None where nothing was asked.
    """

    allocated: tuple[SessionId, ...]
    rejected: tuple[RejectedAllocation, ...]
    transaction_id: Optional[TransactionId] = None
