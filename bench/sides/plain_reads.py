"""The plain way to read: ORM entities with selectinload, usage summed in Python.

It is what one writes first, and reads the same state in one transaction: the group and its slot types, the
queue with kernels and dependencies, open agents, reservations, what may be preempted, and what owners occupy
and may occupy. It leaves out whether a dependency that waits itself can never start, and stops once the
entities are there: what a scheduler would then spend on turning them into structures of its own is not counted.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Optional

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import selectinload

from bench.sides.plain_entities import (
    PlainAgent,
    PlainDependency,
    PlainKernel,
    PlainKernelReservation,
    PlainQuota,
    PlainReservation,
    PlainSession,
)
from scheduler_repo.models import AgentRow, KernelRow, ReservationRow, ScalingGroupRow, SessionRow, SlotTypeRow
from scheduler_repo.types import OCCUPYING_STATUSES, AgentStatus, ScalingGroupName, SessionId, SessionStatus

_session, _agent, _kernel = SessionRow.__table__.c, AgentRow.__table__.c, KernelRow.__table__.c
_reservation = ReservationRow.__table__.c

# A scope, and the id of an owner as text.
Owner = tuple[str, str]


class PlainUsage(msgspec.Struct):
    """What one owner occupies: amounts by slot index, and in how many sessions."""

    slots: list[int]
    sessions: set[SessionId]


class PlainLimits(msgspec.Struct):
    """What one owner may occupy: the least of its policy and its quota; None is no limit."""

    slots: list[Optional[int]]
    sessions: Optional[int]
    kernels_per_session: Optional[int]


class PlainState(msgspec.Struct, frozen=True):
    """What one read has found, so that it can be compared and weighed."""

    observed_at: datetime
    group: ScalingGroupRow
    slot_types: Sequence[SlotTypeRow]
    pending: Sequence[PlainSession]
    agents: Sequence[PlainAgent]
    reservations: Sequence[PlainReservation]
    candidates: Sequence[PlainSession]
    reserved: Mapping[str, list[int]]
    usage: Mapping[Owner, PlainUsage]
    limits: Mapping[Owner, PlainLimits]


async def read_by_orm(
    engine: AsyncEngine, scaling_group: ScalingGroupName, pending_limit: Optional[int] = None
) -> PlainState:
    """Read a group's queue, agents, reservations, usage and limits."""
    repeatable = engine.execution_options(isolation_level="REPEATABLE READ")
    # Usable after the transaction, as asynchronous code needs it.
    async with AsyncSession(repeatable, expire_on_commit=False) as db_sess, db_sess.begin():
        observed_at = (await db_sess.scalars(sa.select(sa.func.now()))).one()
        group = await db_sess.get_one(ScalingGroupRow, scaling_group)
        slot_types = (await db_sess.scalars(sa.select(SlotTypeRow).order_by(SlotTypeRow.slot_index))).all()
        pending = await _read_pending(db_sess, scaling_group, pending_limit)
        agents = (
            await db_sess.scalars(
                sa.select(PlainAgent)
                .where(_agent.scaling_group == scaling_group)
                .where(_agent.status == AgentStatus.ALIVE, _agent.is_schedulable)
                .order_by(_agent.id)
                .options(selectinload(PlainAgent.slots))
            )
        ).all()
        reservations = (
            await db_sess.scalars(
                sa.select(PlainReservation)
                .where(_reservation.scaling_group == scaling_group)
                .order_by(_reservation.position)
                .options(selectinload(PlainReservation.kernels).selectinload(PlainKernelReservation.kernel))
            )
        ).all()
        candidates = await _read_candidates(db_sess, group)
        running = await db_sess.scalars(sa.select(PlainKernel).where(_kernel.status.in_(OCCUPYING_STATUSES)))
        width = max((slot_type.slot_index for slot_type in slot_types), default=-1) + 1
        usage = _sum_usage(running.all(), width)
        quotas = (await db_sess.scalars(sa.select(PlainQuota).options(selectinload(PlainQuota.policy)))).all()
    reserved = _sum_reserved(reservations, width)
    limits = {(quota.scope, quota.owner_id): _limits_of(quota) for quota in quotas}
    return PlainState(
        observed_at, group, slot_types, pending, agents, reservations, candidates, reserved, usage, limits
    )


async def _read_pending(
    db_sess: AsyncSession, scaling_group: ScalingGroupName, pending_limit: Optional[int]
) -> Sequence[PlainSession]:
    pending = await db_sess.scalars(
        sa.select(PlainSession)
        .where(_session.scaling_group == scaling_group, _session.status == SessionStatus.PENDING)
        .order_by(_session.priority.desc(), _session.created_at, _session.id)
        .limit(pending_limit)
        .options(
            selectinload(PlainSession.kernels),
            selectinload(PlainSession.dependencies).selectinload(PlainDependency.other),
        )
    )
    return pending.all()


async def _read_candidates(db_sess: AsyncSession, group: ScalingGroupRow) -> Sequence[PlainSession]:
    """Read the running sessions that some pending one is more important than, where preemption is on."""
    if group.preemption_scope is None:
        return []
    in_group = _session.scaling_group == group.name
    highest = sa.select(sa.func.max(_session.priority)).where(
        in_group, _session.status == SessionStatus.PENDING
    )
    candidates = await db_sess.scalars(
        sa.select(PlainSession)
        .where(in_group, _session.status == SessionStatus.RUNNING)
        .where(_session.priority < highest.scalar_subquery())
        .order_by(_session.priority, _session.status_changed_at.desc(), _session.id)
        .options(selectinload(PlainSession.kernels))
    )
    return candidates.all()


def _sum_usage(kernels: Sequence[PlainKernel], width: int) -> dict[Owner, PlainUsage]:
    usage: defaultdict[Owner, PlainUsage] = defaultdict(lambda: PlainUsage([0] * width, set()))
    for kernel in kernels:
        for owner in (
            ("ACCESS_KEY", kernel.access_key),
            ("USER", str(kernel.user_id)),
            ("PROJECT", str(kernel.project_id)),
            ("DOMAIN", kernel.domain_name),
        ):
            of_owner = usage[owner]
            of_owner.sessions.add(kernel.session_id)
            for index, amount in enumerate(kernel.occupied_slots):
                of_owner.slots[index] += amount
    return usage


def _sum_reserved(reservations: Sequence[PlainReservation], width: int) -> dict[str, list[int]]:
    reserved: defaultdict[str, list[int]] = defaultdict(lambda: [0] * width)
    for reservation in reservations:
        for held in reservation.kernels:
            for index, amount in enumerate(held.kernel.requested_slots):
                reserved[held.agent_id][index] += amount
    return reserved


def _limits_of(quota: PlainQuota) -> PlainLimits:
    policy = quota.policy
    if policy is None:
        return PlainLimits(quota.slot_limits, quota.max_concurrent_sessions, None)
    return PlainLimits(
        [_least(own, shared) for own, shared in zip_longest(quota.slot_limits, policy.slot_limits)],
        _least(quota.max_concurrent_sessions, policy.max_concurrent_sessions),
        policy.max_kernels_per_session,
    )


def _least(one: Optional[int], other: Optional[int]) -> Optional[int]:
    return min((limit for limit in (one, other) if limit is not None), default=None)


async def get_session_by_orm(engine: AsyncEngine, session_id: SessionId) -> SessionRow:
    """Read one session; raises sqlalchemy.exc.NoResultFound."""
    async with AsyncSession(engine) as db_sess:
        return await db_sess.get_one(SessionRow, session_id)
