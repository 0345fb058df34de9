"""The statements that read agents with their ledgers, and what becomes of their rows."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Optional

import msgspec

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.agent import Agent, AgentFilter, AgentInfo, AgentSlot
from scheduler_repo.errors import AgentNotFound
from scheduler_repo.quoting import quoted
from scheduler_repo.types import AgentId, AgentStatus

if TYPE_CHECKING:
    from asyncpg import Record

FIND_AGENT = load_statement("agent/find_agent")
SEARCH_AGENTS = load_statement("agent/search_agents")
AGENT_SLOTS = load_statement("agent/agent_slots")


class AgentRows(NamedTuple):
    """Agents as read in one snapshot: a row each, and a row for each slot of each."""

    agents: "Sequence[Record]"
    slots: "Sequence[Record]"


async def fetch_agent(db_sess: SASession, agent_id: AgentId) -> AgentRows:
    """Read one agent, or nothing; costs two statements."""
    agents = await fetch_rows(db_sess, FIND_AGENT, agent_id)
    return AgentRows(agents, await fetch_rows(db_sess, AGENT_SLOTS, [agent_id]))


async def fetch_agents(
    db_sess: SASession, wanted: AgentFilter, after: Optional[AgentId], limit: int
) -> AgentRows:
    """Read the agents behind ``after`` that a filter finds, by id; costs two statements, or one."""
    agents = await fetch_rows(
        db_sess,
        SEARCH_AGENTS,
        wanted.scaling_group,
        None if wanted.statuses is None else [status.value for status in wanted.statuses],
        wanted.is_schedulable,
        wanted.architecture,
        wanted.id_prefix,
        after,
        limit,
    )
    if not agents:
        return AgentRows((), ())
    return AgentRows(agents, await fetch_rows(db_sess, AGENT_SLOTS, [row["agent_id"] for row in agents]))


def agent_of(rows: AgentRows) -> Optional[Agent]:
    """Make the one agent that was read; None if there was none."""
    if not rows.agents:
        return None
    (row,) = rows.agents
    info = _info(row, _slots_by_agent(rows.slots))
    return Agent(
        **msgspec.structs.asdict(info),
        address=row["address"],
        returns_as=AgentStatus(row["returns_as"]),
        created_at=row["created_at"],
    )


def agent_infos(rows: AgentRows) -> tuple[AgentInfo, ...]:
    """Make the agents that were read, in their order."""
    slots = _slots_by_agent(rows.slots)
    return tuple(_info(row, slots) for row in rows.agents)


def no_such_agent(agent_id: AgentId) -> AgentNotFound:
    """Make the error for an agent that does not exist."""
    return AgentNotFound(f"there is no agent {quoted(agent_id, 200)}; correct the id or register the agent")


def _info(row: "Record", slots: Mapping[AgentId, list[AgentSlot]]) -> AgentInfo:
    return AgentInfo(
        agent_id=row["agent_id"],
        scaling_group=row["scaling_group"],
        status=AgentStatus(row["status"]),
        is_schedulable=row["is_schedulable"],
        architecture=row["architecture"],
        container_count=row["container_count"],
        max_containers=row["max_containers"],
        status_changed_at=row["status_changed_at"],
        heartbeat_at=row["heartbeat_at"],
        observed_at=row["observed_at"],
        slots=tuple(slots.get(row["agent_id"], ())),
    )


def _slots_by_agent(rows: "Sequence[Record]") -> Mapping[AgentId, list[AgentSlot]]:
    slots: dict[AgentId, list[AgentSlot]] = {}
    for agent_id, *figures in rows:
        slots.setdefault(agent_id, []).append(AgentSlot(*figures))
    return slots
