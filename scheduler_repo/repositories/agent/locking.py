"""Agents under lock: agents by id, then their slots by id and name, as every writer locks them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import expect_rows, fetch_rows, load_statement
from scheduler_repo.entities.agent import AgentRejectionCode, RejectedAgentTransition, ShrunkSlot
from scheduler_repo.types import AgentId, AgentStatus, Architecture, ScalingGroupName, SlotName

LOCK_AGENT_LIVES = load_statement("agent/lock_agent_lives")
LOCK_AGENT_REPORTS = load_statement("agent/lock_agent_reports")
CHANGE_AGENT_STATUSES = load_statement("agent/change_agent_statuses")
CHANGE_AGENT_CAPACITY = load_statement("agent/change_agent_capacity")


class LockedAgent(NamedTuple):
    """lock_agent_lives.sql

    ``returns_as`` is what its operators want it to be: it is that whenever it is there and what it runs fits.
    """

    agent_id: AgentId
    scaling_group: ScalingGroupName
    status: AgentStatus
    returns_as: AgentStatus
    address: str
    architecture: Architecture
    container_count: int
    max_containers: Optional[int]
    is_schedulable: bool


class LockedSlot(NamedTuple):
    """lock_agent_reports.sql, without the keys: what may be given away, what is, what was last reported."""

    capacity: int
    occupied: int
    reported: Optional[int]


class AgentChange(NamedTuple):
    """One row of change_agent_statuses.sql."""

    agent_id: AgentId
    from_status: AgentStatus
    to_status: AgentStatus
    returns_as: AgentStatus
    reason: Optional[str]


class CapacityChange(NamedTuple):
    """One row of change_agent_capacity.sql."""

    agent_id: AgentId
    slot_name: SlotName
    capacity: int
    reported: int


def is_text(value: object) -> bool:
    """Whether a value can be encoded as text."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def storable_ids(agent_ids: Iterable[AgentId]) -> list[AgentId]:
    """Order the ids that can be in the database, each once; no stored text holds a NUL."""
    return sorted({agent_id for agent_id in agent_ids if "\0" not in agent_id})


async def lock_agents(db_sess: SASession, agent_ids: Iterable[AgentId]) -> dict[AgentId, LockedAgent]:
    """Lock agents by id; those that there are not are left out. Costs one statement."""
    rows = await fetch_rows(db_sess, LOCK_AGENT_LIVES, storable_ids(agent_ids))
    return {
        row["agent_id"]: LockedAgent(*row)._replace(
            status=AgentStatus(row["status"]), returns_as=AgentStatus(row["returns_as"])
        )
        for row in rows
    }


async def lock_slots(
    db_sess: SASession, agent_ids: Iterable[AgentId]
) -> dict[AgentId, dict[SlotName, LockedSlot]]:
    """Lock the slots of agents that are locked; costs one statement."""
    slots: dict[AgentId, dict[SlotName, LockedSlot]] = {}
    for agent_id, slot_name, *figures in await fetch_rows(db_sess, LOCK_AGENT_REPORTS, storable_ids(agent_ids)):
        slots.setdefault(agent_id, {})[slot_name] = LockedSlot(*figures)
    return slots


def batch_rejection(
    agent_id: AgentId,
    agents: Mapping[AgentId, LockedAgent],
    seen: set[AgentId],
    scaling_group: Optional[ScalingGroupName],
) -> Optional[RejectedAgentTransition]:
    """Say what stands against an agent whatever is asked of it; ``seen`` grows by it."""
    if agent_id in seen:
        return RejectedAgentTransition(agent_id, AgentRejectionCode.DUPLICATE)
    seen.add(agent_id)
    agent = agents.get(agent_id)
    if agent is None:
        return RejectedAgentTransition(agent_id, AgentRejectionCode.AGENT_UNKNOWN)
    if scaling_group not in (None, agent.scaling_group):
        return RejectedAgentTransition(
            agent_id,
            AgentRejectionCode.OTHER_GROUP,
            agent.status,
            f"it is in {agent.scaling_group}, the lease is of {scaling_group}",
        )
    return None


def shrunk_slots(slots: Mapping[SlotName, LockedSlot]) -> tuple[ShrunkSlot, ...]:
    """Say which slots kernels occupy beyond what was last reported, by name."""
    return tuple(
        ShrunkSlot(name, slot.occupied, slot.reported)
        for name, slot in sorted(slots.items())
        if slot.reported is not None and slot.reported < slot.occupied
    )


async def write_statuses(db_sess: SASession, changes: Sequence[AgentChange]) -> None:
    """Change the status of locked agents, with history; costs one statement."""
    await expect_rows(
        db_sess,
        len(changes),
        CHANGE_AGENT_STATUSES,
        [change.agent_id for change in changes],
        [change.from_status.value for change in changes],
        [change.to_status.value for change in changes],
        [change.returns_as.value for change in changes],
        [change.reason for change in changes],
    )


async def write_capacity(db_sess: SASession, changes: Sequence[CapacityChange]) -> None:
    """Store capacities of locked agents; costs one statement."""
    await expect_rows(
        db_sess,
        len(changes),
        CHANGE_AGENT_CAPACITY,
        [change.agent_id for change in changes],
        [change.slot_name for change in changes],
        [change.capacity for change in changes],
        [change.reported for change in changes],
    )
