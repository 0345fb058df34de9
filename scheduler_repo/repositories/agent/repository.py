"""Agents."""

from collections.abc import Sequence

from scheduler_repo.repositories.agent.db_source import AgentDBSource
from scheduler_repo.specs import AgentSpec


class AgentRepository:
    """Registers agents."""

    def __init__(self, db_source: AgentDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    async def register_agents(self, agents: Sequence[AgentSpec]) -> None:
        """Register agents as alive and empty, all or none.

        Raises AgentAlreadyExists, ScalingGroupNotFound, UnknownSlotType and InvalidQuantity. Costs four
        statements, whatever the number.
        """
        await self._db_source.register_agents(agents)
