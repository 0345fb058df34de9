"""The agents' counters in one write: read under their locks, changed by what is occupied or given back."""

from collections.abc import Iterable, Mapping

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS
from scheduler_repo.database.statements import change_rows, fetch_rows, load_statement
from scheduler_repo.scheduling.admission.transitions import AgentCounters
from scheduler_repo.scheduling.rules.feasibility import Load
from scheduler_repo.steps import chunks_of, in_slices
from scheduler_repo.types import AgentId

CHANGE_AGENT_OCCUPANCY = load_statement("agent/change_agent_occupancy")
CHANGE_AGENT_CONTAINERS = load_statement("agent/change_agent_containers")


async def lock_agent_counters(db_sess: SASession, agent_ids: Iterable[AgentId]) -> AgentCounters:
    """Lock agents and their slots, and read their counters; costs two statements."""
    ordered = sorted(agent_ids)
    agents = await fetch_rows(db_sess, LOCK_AGENTS, ordered)
    slots: dict[AgentId, dict[int, int]] = {}
    async for rows in in_slices(chunks_of(await fetch_rows(db_sess, LOCK_AGENT_SLOTS, ordered))):
        for agent_id, slot_index, _, occupied in rows:
            slots.setdefault(agent_id, {})[slot_index] = occupied
    return AgentCounters(slots, {row["agent_id"]: row["container_count"] for row in agents})


async def change_agent_counters(db_sess: SASession, loads: Mapping[AgentId, Load], *, sign: int) -> None:
    """Add to (``sign`` 1) or take from (-1) the counters of locked agents; costs two statements."""
    changes = [
        (agent_id, index, sign * amount)
        async for agent_id, load in in_slices(loads.items())
        for index, amount in enumerate(load.slots)
        if amount
    ]
    await change_rows(db_sess, CHANGE_AGENT_OCCUPANCY, 3, changes)
    counts = [(agent_id, sign * load.count) for agent_id, load in loads.items() if load.count]
    await change_rows(db_sess, CHANGE_AGENT_CONTAINERS, 2, counts)
