"""The floor of a write: the bare set-based statements for the rows that a batch changes, and nothing else.

No lock beforehand, no check, no quota, no history of its own, no operation id: what the engine adds shows
against it. Enqueueing writes the first row of a session's history, as that is part of what is asked for.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import asyncpg

from bench.data.rows import NEW_KERNEL_COLUMNS, NEW_SESSION_COLUMNS
from scheduler_repo.entities.allocation import KernelAllocation, SessionAllocation
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.types import AgentId, SessionId, SlotName

_PLACE_KERNELS = """
UPDATE kernels AS k SET status = 'SCHEDULED', agent_id = given.agent_id, occupied_slots = k.requested_slots,
       status_changed_at = now()
FROM unnest($1::uuid[], $2::text[]) AS given (kernel_id, agent_id) WHERE k.id = given.kernel_id
"""
_END_KERNELS = "UPDATE kernels SET status = 'TERMINATED', status_changed_at = now() WHERE id = ANY ($1::uuid[])"
_MOVE_SESSIONS = "UPDATE sessions SET status = $2, status_changed_at = now() WHERE id = ANY ($1::uuid[])"
_ADD_TO_SLOTS = """
UPDATE agent_slots AS s SET occupied = s.occupied + given.amount
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS given (agent_id, slot_name, amount)
WHERE s.agent_id = given.agent_id AND s.slot_name = given.slot_name
"""
_ADD_CONTAINERS = """
UPDATE agents AS a SET container_count = a.container_count + given.containers
FROM unnest($1::text[], $2::int[]) AS given (agent_id, containers) WHERE a.id = given.agent_id
"""
_HEARTBEATS = "UPDATE agent_heartbeats SET heartbeat_at = now() WHERE agent_id = ANY ($1::text[])"

SlotAmounts = Counter[tuple[AgentId, str]]


class BareWrites:
    """One connection of the driver's own, with the figures worked out beforehand."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        """``connection`` has the engine's planner settings."""
        self._connection = connection

    async def place(self, batch: Sequence[SessionAllocation], slots: SlotAmounts) -> None:
        """Place a batch; ``slots`` is what it adds per agent and slot name."""
        kernels = [kernel for allocation in batch for kernel in allocation.kernels]
        async with self._connection.transaction():
            await self._connection.execute(
                _PLACE_KERNELS,
                [kernel.kernel_id for kernel in kernels],
                [kernel.agent_id for kernel in kernels],
            )
            await self._move(batch, "SCHEDULED")
            await self._change_counters(kernels, slots, 1)

    async def end(self, batch: Sequence[SessionAllocation], slots: SlotAmounts) -> None:
        """End sessions that run where the batch has placed them."""
        kernels = [kernel for allocation in batch for kernel in allocation.kernels]
        async with self._connection.transaction():
            await self._connection.execute(_END_KERNELS, [kernel.kernel_id for kernel in kernels])
            await self._move(batch, "TERMINATED")
            await self._change_counters(kernels, slots, -1)

    async def enqueue(self, specs: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]) -> None:
        """Copy sessions, their kernels and the first row of their history."""
        owners = [
            (spec.scaling_group, spec.access_key, spec.user_id, spec.project_id, spec.domain_name)
            for spec in specs
        ]
        sessions = [
            (spec.session_id, spec.name, *of_spec, spec.session_type.value, spec.cluster_mode.value)
            for spec, of_spec in zip(specs, owners, strict=True)
        ]
        kernels = [
            (
                kernel.kernel_id,
                spec.session_id,
                index,
                *of_spec,
                [kernel.requested_slots.get(name, 0) for name in slot_names],
            )
            for spec, of_spec in zip(specs, owners, strict=True)
            for index, kernel in enumerate(spec.kernels)
        ]
        history = [(spec.session_id, "PENDING") for spec in specs]
        copy = self._connection.copy_records_to_table
        async with self._connection.transaction():
            await copy("sessions", columns=NEW_SESSION_COLUMNS, records=sessions)
            await copy("kernels", columns=(*NEW_KERNEL_COLUMNS, "requested_slots"), records=kernels)
            await copy("session_history", columns=("session_id", "to_status"), records=history)

    async def beat(self, agent_ids: Sequence[AgentId]) -> None:
        """Note that agents were heard of."""
        await self._connection.execute(_HEARTBEATS, list(agent_ids))

    async def _move(self, batch: Sequence[SessionAllocation], status: str) -> None:
        session_ids: list[SessionId] = [allocation.session_id for allocation in batch]
        await self._connection.execute(_MOVE_SESSIONS, session_ids, status)

    async def _change_counters(
        self, kernels: Iterable[KernelAllocation], slots: SlotAmounts, sign: int
    ) -> None:
        containers = Counter(kernel.agent_id for kernel in kernels)
        amounts = [sign * amount for amount in slots.values()]
        await self._connection.execute(
            _ADD_TO_SLOTS, [agent for agent, _ in slots], [slot for _, slot in slots], amounts
        )
        counts = [sign * count for count in containers.values()]
        await self._connection.execute(_ADD_CONTAINERS, list(containers), counts)
