"""The agents' counters in one write: read under their locks, changed by what is taken or given back."""

from collections.abc import Mapping, Sequence
from typing import Optional

import msgspec

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS
from scheduler_repo.database.statements import expect_rows, fetch_rows, load_statement
from scheduler_repo.scheduling.rules.feasibility import total_slots
from scheduler_repo.types import AgentId, SlotVector

CHANGE_AGENT_OCCUPANCY = load_statement("agent/change_agent_occupancy")
CHANGE_AGENT_CONTAINERS = load_statement("agent/change_agent_containers")


class GivenBack(msgspec.Struct, frozen=True):
    """What one kernel gives back to its agent."""

    agent_id: AgentId
    slots: SlotVector
    containers: int


class Ledger:
    """What locked agents hold by their counters, and what of it is given back."""

    def __init__(self, slots: Mapping[AgentId, Mapping[int, int]], containers: Mapping[AgentId, int]) -> None:
        """Take what each agent holds: per slot index, and its containers."""
        self._slots = slots
        self._containers = containers
        self.given_slots: dict[AgentId, SlotVector] = {}
        self.given_containers: dict[AgentId, int] = {}

    def give_back(self, pieces: Sequence[GivenBack]) -> Optional[AgentId]:
        """Count what a session gives back, or name the first agent whose counters do not hold it."""
        slots: dict[AgentId, SlotVector] = {}
        containers: dict[AgentId, int] = {}
        for piece in pieces:
            agent_id = piece.agent_id
            given = slots.get(agent_id) or self.given_slots.get(agent_id, ())
            slots[agent_id] = total_slots((given, piece.slots))
            count = containers.get(agent_id) or self.given_containers.get(agent_id, 0)
            containers[agent_id] = count + piece.containers
            held = self._slots.get(agent_id, {})
            if containers[agent_id] > self._containers[agent_id] or any(
                amount > held.get(index, 0) for index, amount in enumerate(slots[agent_id])
            ):
                return agent_id
        self.given_slots.update(slots)
        self.given_containers.update(containers)
        return None


async def locked_ledger(db_sess: SASession, agent_ids: Sequence[AgentId]) -> Ledger:
    """Lock agents and their slots, by id, and read their counters; costs two statements."""
    ordered = sorted(agent_ids)
    agents = await fetch_rows(db_sess, LOCK_AGENTS, ordered)
    slots: dict[AgentId, dict[int, int]] = {}
    for agent_id, slot_index, _, occupied in await fetch_rows(db_sess, LOCK_AGENT_SLOTS, ordered):
        slots.setdefault(agent_id, {})[slot_index] = occupied
    return Ledger(slots, {row["agent_id"]: row["container_count"] for row in agents})


async def change_agents(
    db_sess: SASession, slots: Mapping[AgentId, SlotVector], containers: Mapping[AgentId, int], *, sign: int
) -> None:
    """Add to (``sign`` 1) or take from (-1) the counters of agents that are locked; costs two statements."""
    changes = [
        (agent_id, index, sign * amount)
        for agent_id, amounts in slots.items()
        for index, amount in enumerate(amounts)
        if amount
    ]
    await expect_rows(
        db_sess,
        len(changes),
        CHANGE_AGENT_OCCUPANCY,
        [agent_id for agent_id, _, _ in changes],
        [index for _, index, _ in changes],
        [amount for _, _, amount in changes],
    )
    counts = {agent_id: sign * count for agent_id, count in containers.items() if count}
    await expect_rows(db_sess, len(counts), CHANGE_AGENT_CONTAINERS, list(counts), list(counts.values()))
