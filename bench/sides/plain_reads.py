"""The plain way to read: ORM entities with selectinload, usage summed in Python.

It is what one writes first, and reads the same state in one transaction. It stops once the entities are there:
what a scheduler would then spend on turning them into structures of its own is not counted.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Optional

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import selectinload

from bench.sides.plain_entities import PlainAgent, PlainSession
from scheduler_repo.models import AgentRow, KernelRow, QuotaRow, SessionRow
from scheduler_repo.types import OCCUPYING_STATUSES, AgentStatus, ScalingGroupName, SessionId, SessionStatus

_MOST_SLOT_TYPES = 64
_session, _agent = SessionRow.__table__.c, AgentRow.__table__.c


class PlainState(msgspec.Struct, frozen=True):
    """What one read has found, so that it can be compared and weighed."""

    pending: Sequence[PlainSession]
    agents: Sequence[PlainAgent]
    usage: dict[object, list[int]]
    quotas: Sequence[QuotaRow]


async def read_by_orm(
    engine: AsyncEngine, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
) -> PlainState:
    """Read a group's queue, agents and usage."""
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    # Usable after the transaction, as asynchronous code needs it.
    async with AsyncSession(repeatable, expire_on_commit=False) as db_sess, db_sess.begin():
        pending = (
            await db_sess.scalars(
                sa.select(PlainSession)
                .where(_session.scaling_group == scaling_group, _session.status == SessionStatus.PENDING)
                .order_by(_session.priority.desc(), _session.created_at, _session.id)
                .limit(pending_limit)
                .options(selectinload(PlainSession.kernels), selectinload(PlainSession.dependencies))
            )
        ).all()
        agents = (
            await db_sess.scalars(
                sa.select(PlainAgent)
                .where(_agent.scaling_group == scaling_group)
                .where(_agent.status == AgentStatus.ALIVE, _agent.is_schedulable)
                .options(selectinload(PlainAgent.slots))
            )
        ).all()
        usage: defaultdict[object, list[int]] = defaultdict(lambda: [0] * _MOST_SLOT_TYPES)
        for kernel in await db_sess.scalars(
            sa.select(KernelRow).where(KernelRow.status.in_(OCCUPYING_STATUSES))
        ):
            for owner in (kernel.access_key, kernel.user_id, kernel.project_id, kernel.domain_name):
                for index, amount in enumerate(kernel.occupied_slots):
                    usage[owner][index] += amount
        quotas = (await db_sess.scalars(sa.select(QuotaRow))).all()
    return PlainState(pending, agents, usage, quotas)


async def get_session_by_orm(engine: AsyncEngine, session_id: SessionId) -> SessionRow:
    """Read one session; raises sqlalchemy.exc.NoResultFound."""
    async with AsyncSession(engine) as db_sess:
        return await db_sess.get_one(SessionRow, session_id)
