"""The plain way to write: ORM entities, a transaction per session, a handful of statements per kernel.

It is what one writes first, and is right for one scheduler: rows are locked, capacity and the quota of the
access key are checked, history is kept. The other owners' quotas are left out, to its advantage.
"""

from collections import defaultdict
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.models import AgentRow, AgentSlotRow, KernelRow, QuotaRow, SessionHistoryRow, SessionRow
from scheduler_repo.types import OCCUPYING_STATUSES, OwnerScope, SessionStatus, SlotName


async def place_by_orm(
    engine: AsyncEngine, batch: Sequence[SessionAllocation], slot_names: Sequence[SlotName]
) -> int:
    """Place sessions one after the other; returns how many."""
    placed = 0
    for allocation in batch:
        async with AsyncSession(engine) as db_sess, db_sess.begin():
            placed += await _place(db_sess, allocation, slot_names)
    return placed


async def _place(db_sess: AsyncSession, allocation: SessionAllocation, slot_names: Sequence[SlotName]) -> bool:
    session = await db_sess.get(SessionRow, allocation.session_id, with_for_update=True)
    if session is None or session.status != SessionStatus.PENDING:
        return False
    kernels = await db_sess.scalars(
        sa.select(KernelRow).where(KernelRow.session_id == session.id).order_by(KernelRow.kernel_index)
    )
    requested = {kernel.id: kernel for kernel in kernels}
    if not await _quota_allows(db_sess, session, list(requested.values())):
        return False
    for chosen in allocation.kernels:
        kernel = requested[chosen.kernel_id]
        agent = await db_sess.get_one(AgentRow, chosen.agent_id, with_for_update=True)
        slots = await db_sess.scalars(
            sa.select(AgentSlotRow).where(AgentSlotRow.agent_id == chosen.agent_id).with_for_update()
        )
        by_name = {slot.slot_name: slot for slot in slots}
        for name, amount in zip(slot_names, kernel.requested_slots, strict=False):
            slot = by_name[name]
            if slot.occupied + amount > slot.capacity:
                await db_sess.rollback()
                return False
            slot.occupied += amount
        agent.container_count += 1
        kernel.status, kernel.agent_id = SessionStatus.SCHEDULED.value, chosen.agent_id
        kernel.occupied_slots = kernel.requested_slots
    session.status = SessionStatus.SCHEDULED.value
    db_sess.add(
        SessionHistoryRow(
            session_id=session.id,
            from_status=SessionStatus.PENDING.value,
            to_status=SessionStatus.SCHEDULED.value,
        )
    )
    return True


async def _quota_allows(db_sess: AsyncSession, session: SessionRow, kernels: Sequence[KernelRow]) -> bool:
    quota = await db_sess.get(QuotaRow, (OwnerScope.ACCESS_KEY.value, session.access_key), with_for_update=True)
    if quota is None:
        return True
    occupying = await db_sess.scalars(
        sa.select(KernelRow)
        .where(KernelRow.access_key == session.access_key)
        .where(KernelRow.status.in_(OCCUPYING_STATUSES))
    )
    used: defaultdict[int, int] = defaultdict(int)
    running = {session.id}
    for kernel in occupying:
        running.add(kernel.session_id)
        for index, amount in enumerate(kernel.occupied_slots):
            used[index] += amount
    for kernel in kernels:
        for index, amount in enumerate(kernel.requested_slots):
            used[index] += amount
    if quota.max_concurrent_sessions is not None and len(running) > quota.max_concurrent_sessions:
        return False
    return all(limit is None or used[index] <= limit for index, limit in enumerate(quota.slot_limits))
