"""The life of agents: what they report, what is asked of them, and what the database made of it."""

import enum
from collections.abc import Mapping
from typing import Optional

import msgspec

from scheduler_repo.scheduling.lifecycle import RejectedTransition
from scheduler_repo.types import AgentId, AgentStatus, Architecture, SessionId, SlotName, TransactionId


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


class LostSessionAction(enum.StrEnum):
    """What becomes of a session that had a kernel on a lost agent."""

    REQUEUE = "REQUEUE"
    FAIL = "FAIL"


class RecoveryResult(msgspec.Struct, frozen=True):
    """What became of sessions on lost agents, by id: PENDING again, ERROR, or left as they are and why.

    Their kernels on agents that are not lost still run there: these agents are to be told to end them.
    """

    requeued: tuple[SessionId, ...]
    failed: tuple[SessionId, ...]
    rejected: tuple[RejectedTransition, ...]
    transaction_id: Optional[TransactionId] = None
