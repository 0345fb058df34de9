"""The plain way to read: ORM entities, related rows loaded 500 at a time, usage summed in Python.

It is what one writes first, and reads the same state in one transaction. It stops once the entities are
grouped: what a scheduler would then spend on turning them into structures of its own is not counted.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Optional

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from scheduler_repo.models import AgentRow, AgentSlotRow, KernelRow, QuotaRow, SessionDependencyRow, SessionRow
from scheduler_repo.types import OCCUPYING_STATUSES, AgentStatus, ScalingGroupName, SessionId, SessionStatus

# What SQLAlchemy's own selectinload uses.
_IDS_PER_STATEMENT = 500


class PlainState(msgspec.Struct, frozen=True):
    """What one read has found, so that it can be compared and weighed."""

    pending: Sequence[SessionRow]
    kernels: dict[SessionId, list[KernelRow]]
    dependencies: dict[SessionId, list[SessionDependencyRow]]
    agents: Sequence[AgentRow]
    slots: dict[str, list[AgentSlotRow]]
    usage: dict[object, list[int]]
    quotas: Sequence[QuotaRow]


async def read_by_orm(
    engine: AsyncEngine, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
) -> PlainState:
    """Read a group's queue, agents and usage."""
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    async with AsyncSession(repeatable) as db_sess, db_sess.begin():
        pending = (
            await db_sess.scalars(
                sa.select(SessionRow)
                .where(SessionRow.scaling_group == scaling_group)
                .where(SessionRow.status == SessionStatus.PENDING)
                .order_by(SessionRow.priority.desc(), SessionRow.created_at, SessionRow.id)
                .limit(pending_limit)
            )
        ).all()
        kernels: defaultdict[SessionId, list[KernelRow]] = defaultdict(list)
        dependencies: defaultdict[SessionId, list[SessionDependencyRow]] = defaultdict(list)
        for start in range(0, len(pending), _IDS_PER_STATEMENT):
            ids = [session.id for session in pending[start : start + _IDS_PER_STATEMENT]]
            for kernel in await db_sess.scalars(
                sa.select(KernelRow).where(KernelRow.session_id.in_(ids)).order_by(KernelRow.kernel_index)
            ):
                kernels[kernel.session_id].append(kernel)
            for dependency in await db_sess.scalars(
                sa.select(SessionDependencyRow).where(SessionDependencyRow.session_id.in_(ids))
            ):
                dependencies[dependency.session_id].append(dependency)
        agents = (
            await db_sess.scalars(
                sa.select(AgentRow)
                .where(AgentRow.scaling_group == scaling_group)
                .where(AgentRow.status == AgentStatus.ALIVE, AgentRow.is_schedulable)
            )
        ).all()
        agent_ids = {agent.id for agent in agents}
        slots: defaultdict[str, list[AgentSlotRow]] = defaultdict(list)
        for slot in await db_sess.scalars(sa.select(AgentSlotRow)):
            if slot.agent_id in agent_ids:
                slots[slot.agent_id].append(slot)
        usage: defaultdict[object, list[int]] = defaultdict(lambda: [0] * 64)
        for kernel in await db_sess.scalars(
            sa.select(KernelRow).where(KernelRow.status.in_(OCCUPYING_STATUSES))
        ):
            for owner in (kernel.access_key, kernel.user_id, kernel.project_id, kernel.domain_name):
                for index, amount in enumerate(kernel.occupied_slots):
                    usage[owner][index] += amount
        quotas = (await db_sess.scalars(sa.select(QuotaRow))).all()
    return PlainState(pending, kernels, dependencies, agents, slots, usage, quotas)


async def get_session_by_orm(engine: AsyncEngine, session_id: SessionId) -> SessionRow:
    """Read one session; raises sqlalchemy.exc.NoResultFound."""
    async with AsyncSession(engine) as db_sess:
        return await db_sess.get_one(SessionRow, session_id)
