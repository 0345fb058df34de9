"""The allowed changes of status: one table per entity, obeyed by the writes and drawn in the diagrams."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from scheduler_repo.types import AgentStatus, SessionStatus

StatusT = TypeVar("StatusT", bound=StrEnum)
TransitionTable = Mapping[StatusT, tuple[StatusT, ...]]
# All that ends a session that has agents, and does not run yet.
_ENDS = (SessionStatus.TERMINATING, SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR)
SESSION_TRANSITIONS: TransitionTable[SessionStatus] = MappingProxyType(
    {
        SessionStatus.PENDING: (SessionStatus.SCHEDULED, SessionStatus.CANCELLED, SessionStatus.ERROR),
        SessionStatus.SCHEDULED: (SessionStatus.PREPARING, SessionStatus.PENDING, *_ENDS),
        SessionStatus.PREPARING: (SessionStatus.RUNNING, SessionStatus.PENDING, *_ENDS),
        SessionStatus.RUNNING: (
            SessionStatus.PENDING,
            SessionStatus.TERMINATING,
            SessionStatus.TERMINATED,
            SessionStatus.ERROR,
        ),
        # A preempted session goes back to the queue when its containers have ended, not before.
        SessionStatus.TERMINATING: (SessionStatus.PENDING, SessionStatus.TERMINATED, SessionStatus.ERROR),
        SessionStatus.TERMINATED: (),
        SessionStatus.CANCELLED: (),
        SessionStatus.ERROR: (),
    }
)

# A kernel moves with its session, in the same transaction; the session's history row stands for its kernels'.
KERNEL_TRANSITIONS: TransitionTable[SessionStatus] = SESSION_TRANSITIONS
AGENT_TRANSITIONS: TransitionTable[AgentStatus] = MappingProxyType(
    {
        AgentStatus.ALIVE: (AgentStatus.DRAINING, AgentStatus.LOST, AgentStatus.TERMINATED),
        AgentStatus.DRAINING: (AgentStatus.ALIVE, AgentStatus.LOST, AgentStatus.TERMINATED),
        AgentStatus.LOST: (AgentStatus.ALIVE, AgentStatus.DRAINING, AgentStatus.TERMINATED),
        AgentStatus.TERMINATED: (AgentStatus.ALIVE, AgentStatus.DRAINING),
    }
)


def is_allowed(table: TransitionTable[StatusT], from_status: StatusT, to_status: StatusT) -> bool:
    """Whether ``to_status`` may follow ``from_status``; no status follows itself."""
    return to_status in table[from_status]


def transition_diagram(table: TransitionTable[StatusT], initial: StatusT) -> str:
    """Draw a table as a Mermaid state diagram, its lines in the table's order."""
    lines = ["stateDiagram-v2", f"    [*] --> {initial}"]
    for from_status, following in table.items():
        lines.extend(f"    {from_status} --> {to_status}" for to_status in following or ("[*]",))
    return "\n".join(lines)
