"""The plain way to write: ORM entities, a transaction per session, a few statements per kernel.

It is what one writes first, and is right for one scheduler: rows are locked, capacity and the quota of the
access key are checked, history is kept. The other owners' quotas are left out, to its advantage.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from scheduler_repo.entities.allocation import SessionAllocation
from scheduler_repo.entities.session import SessionCreationSpec
from scheduler_repo.models import (
    AgentHeartbeatRow,
    AgentRow,
    AgentSlotRow,
    KernelRow,
    KeypairRow,
    ProjectRow,
    QuotaRow,
    ScalingGroupRow,
    SessionHistoryRow,
    SessionRow,
)
from scheduler_repo.types import OCCUPYING_STATUSES, AgentId, OwnerScope, SessionId, SessionStatus, SlotName


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
        kernel.status_changed_at = datetime.now(UTC)
    _note_change(db_sess, session, SessionStatus.SCHEDULED)
    return True


async def enqueue_by_orm(
    engine: AsyncEngine, specs: Sequence[SessionCreationSpec], slot_names: Sequence[SlotName]
) -> int:
    """Put sessions into the queue one after the other; returns how many."""
    for spec in specs:
        async with AsyncSession(engine) as db_sess, db_sess.begin():
            group = await db_sess.get_one(ScalingGroupRow, spec.scaling_group)
            keypair = await db_sess.get_one(KeypairRow, spec.access_key)
            project = await db_sess.get_one(ProjectRow, spec.project_id)
            session = SessionRow(
                id=spec.session_id,
                name=spec.name,
                scaling_group=group.name,
                access_key=keypair.access_key,
                user_id=keypair.user_id,
                project_id=project.id,
                domain_name=project.domain_name,
                session_type=spec.session_type.value,
                cluster_mode=spec.cluster_mode.value,
            )
            db_sess.add(session)
            # The rows have no relationships, so the order of their tables is made here.
            await db_sess.flush()
            for index, kernel in enumerate(spec.kernels):
                db_sess.add(
                    KernelRow(
                        id=kernel.kernel_id,
                        session_id=session.id,
                        kernel_index=index,
                        scaling_group=session.scaling_group,
                        access_key=session.access_key,
                        user_id=session.user_id,
                        project_id=session.project_id,
                        domain_name=session.domain_name,
                        requested_slots=[kernel.requested_slots.get(name, 0) for name in slot_names],
                    )
                )
            db_sess.add(SessionHistoryRow(session_id=session.id, to_status=SessionStatus.PENDING.value))
    return len(specs)


async def end_by_orm(
    engine: AsyncEngine, session_ids: Sequence[SessionId], slot_names: Sequence[SlotName]
) -> int:
    """End running sessions one after the other, and give back what they occupied; returns how many."""
    for session_id in session_ids:
        async with AsyncSession(engine) as db_sess, db_sess.begin():
            session = await db_sess.get_one(SessionRow, session_id, with_for_update=True)
            kernels = await db_sess.scalars(
                sa.select(KernelRow).where(KernelRow.session_id == session.id).order_by(KernelRow.kernel_index)
            )
            for kernel in kernels:
                agent = await db_sess.get_one(AgentRow, kernel.agent_id, with_for_update=True)
                slots = await db_sess.scalars(
                    sa.select(AgentSlotRow).where(AgentSlotRow.agent_id == agent.id).with_for_update()
                )
                by_name = {slot.slot_name: slot for slot in slots}
                for name, amount in zip(slot_names, kernel.occupied_slots, strict=False):
                    by_name[name].occupied -= amount
                agent.container_count -= 1
                kernel.status = SessionStatus.TERMINATED.value
                kernel.status_changed_at = datetime.now(UTC)
            _note_change(db_sess, session, SessionStatus.TERMINATED)
    return len(session_ids)


async def beat_by_orm(engine: AsyncEngine, agent_ids: Sequence[AgentId]) -> int:
    """Note that agents were heard of, one after the other as they report; returns how many."""
    for agent_id in agent_ids:
        async with AsyncSession(engine) as db_sess, db_sess.begin():
            heartbeat = await db_sess.get_one(AgentHeartbeatRow, agent_id)
            heartbeat.heartbeat_at = datetime.now(UTC)
    return len(agent_ids)


def _note_change(db_sess: AsyncSession, session: SessionRow, to_status: SessionStatus) -> None:
    db_sess.add(SessionHistoryRow(session_id=session.id, from_status=session.status, to_status=to_status.value))
    session.status = to_status.value
    session.status_changed_at = datetime.now(UTC)


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
