"""The floor of a write: the bare set-based UPDATEs of the rows that a batch changes, and nothing else.

No lock beforehand, no check, no quota, no history, no operation id: what the engine adds shows against it.
"""

from collections import Counter
from collections.abc import Sequence

import asyncpg

from scheduler_repo.database.engine import PLANNER_SETTINGS
from scheduler_repo.entities.allocation import SessionAllocation

_KERNELS = """
UPDATE kernels AS k SET status = 'SCHEDULED', agent_id = given.agent_id, occupied_slots = k.requested_slots,
       status_changed_at = now()
FROM unnest($1::uuid[], $2::text[]) AS given (kernel_id, agent_id) WHERE k.id = given.kernel_id
"""
_SESSIONS = "UPDATE sessions SET status = 'SCHEDULED', status_changed_at = now() WHERE id = ANY ($1::uuid[])"
_SLOTS = """
UPDATE agent_slots AS s SET occupied = s.occupied + given.amount
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (agent_id, slot_name, amount)
WHERE s.agent_id = given.agent_id AND s.slot_name = given.slot_name
"""
_CONTAINERS = """
UPDATE agents AS a SET container_count = a.container_count + given.containers
FROM unnest($1::text[], $2::int[]) AS given (agent_id, containers) WHERE a.id = given.agent_id
"""


class BareUpdates:
    """One connection of the driver's own, with the figures worked out beforehand."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, dsn: str) -> "BareUpdates":
        """Connect with the engine's planner settings."""
        return cls(await asyncpg.connect(dsn, server_settings=PLANNER_SETTINGS))

    async def place(self, batch: Sequence[SessionAllocation], slots: Counter[tuple[str, str]]) -> None:
        """Place a batch; ``slots`` is what it adds per (agent, slot name)."""
        kernels = [kernel for allocation in batch for kernel in allocation.kernels]
        containers = Counter(kernel.agent_id for kernel in kernels)
        async with self._connection.transaction():
            await self._connection.execute(
                _KERNELS, [kernel.kernel_id for kernel in kernels], [kernel.agent_id for kernel in kernels]
            )
            await self._connection.execute(_SESSIONS, [allocation.session_id for allocation in batch])
            await self._connection.execute(
                _SLOTS, [agent for agent, _ in slots], [slot for _, slot in slots], list(slots.values())
            )
            await self._connection.execute(_CONTAINERS, list(containers), list(containers.values()))

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()
