"""Agents in PostgreSQL."""

from collections.abc import Sequence

from scheduler_repo.database.bulk import copy_rows
from scheduler_repo.database.engine import ExtendedAsyncSAEngine, SASession
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.repositories.scaling_group.db_source import SLOT_TYPES
from scheduler_repo.scheduling.transforms import slot_types_by_index
from scheduler_repo.slots import checked_int32, slot_vector
from scheduler_repo.specs import AgentSpec
from scheduler_repo.types import AgentStatus, SlotName


class AgentDBSource:
    """Registers agents."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    async def register_agents(self, agents: Sequence[AgentSpec]) -> None:
        """Register agents as alive and empty, all or none.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType and InvalidQuantity. Costs four
        statements, whatever the number.
        """
        async with self._engine.begin_session() as db_sess:
            slot_types = slot_types_by_index(await fetch_rows(db_sess, SLOT_TYPES))
            await insert_agents(db_sess, agents, [slot_type.name for slot_type in slot_types])


async def insert_agents(
    db_sess: SASession, agents: Sequence[AgentSpec], slot_names: Sequence[SlotName]
) -> None:
    """Add agents, their slots and history in the session's transaction."""
    agent_rows: list[tuple[object, ...]] = []
    slot_rows: list[tuple[object, ...]] = []
    for agent in agents:
        subject = f"agent {agent.agent_id}"
        slot_vector(agent.capacity, slot_names, subject)
        if agent.max_containers is not None:
            checked_int32(agent.max_containers, f"{subject}, max_containers")
        agent_rows.append(
            (agent.agent_id, agent.scaling_group, agent.address, agent.architecture, agent.max_containers)
        )
        slot_rows.extend((agent.agent_id, slot, amount, amount) for slot, amount in agent.capacity.items())
    await copy_rows(
        db_sess, "agents", ("id", "scaling_group", "address", "architecture", "max_containers"), agent_rows
    )
    await copy_rows(
        db_sess, "agent_slots", ("agent_id", "slot_name", "capacity", "reported_capacity"), slot_rows
    )
    history_rows = [(agent.agent_id, AgentStatus.ALIVE.value) for agent in agents]
    await copy_rows(db_sess, "agent_history", ("agent_id", "to_status"), history_rows)
