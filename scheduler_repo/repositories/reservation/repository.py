"""Reservations: capacity held for pending sessions while running ones end for them."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.idempotent_write import IdempotentWrite, WriteTransaction
from scheduler_repo.entities.allocation import checked_placements
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.reservation import (
    RejectedReservation,
    ReleaseResult,
    ReservationRejectionCode,
    ReservationResult,
    SessionReservation,
)
from scheduler_repo.repositories.repository import Repository
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.scheduling.admission.reservations import decide_reservations
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId
from scheduler_repo.validation import check_ids

_RESERVE_SESSIONS = IdempotentWrite("reserve_sessions", ReservationResult, wakes=False)
_RELEASE_RESERVATIONS = IdempotentWrite("release_reservations", ReleaseResult)

_resilience = layer_resilience(LayerType.RESERVATION_REPOSITORY)


class ReservationRepository(Repository[ReservationDBSource]):
    """Makes reservations and gives them up.

    A reservation lasts until its session is placed, leaves the queue otherwise, or is released. Its capacity is
    free for nobody else but earlier reservations; its session is placed by ``allocate_sessions``. Asking again
    under the same ``operation_id`` answers the same and writes nothing twice. Both raise InvalidInput for a
    malformed id, StaleLeaseError, OperationMismatch, OutcomeUnknown and the errors of the database layer; then,
    save after OutcomeUnknown, nothing was written. Each runs in one transaction; a lease costs one statement.
    """

    source_type = ReservationDBSource

    @_resilience.apply(OperationKind.WRITE)
    async def reserve_sessions(
        self,
        scaling_group: ScalingGroupName,
        reservations: Sequence[SessionReservation],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReservationResult:
        """Hold capacity for pending sessions of a group, and have their victims end: they are TERMINATING then.

        Each session is reserved for with all of its kernels and victims, or rejected; a rejected one keeps no
        other back. A session must be placeable but for the room; each agent must have enough for it once all
        that ends there has ended, beside what other reservations hold; its victims must run in the group, and
        it must be allowed to preempt them (``may_preempt``). The caller chooses the victims and tells their
        agents. Raises ScalingGroupNotFound, and InvalidInput for a lease of another group. Costs 19 statements;
        time grows with the batch, the group's reservations and the cluster's occupying kernels.
        """
        check_lease(lease, scaling_group)
        await finish_in_slices(checked_placements(reservations, SessionReservation, "reservations"))
        async for reservation in in_slices(reservations):
            check_ids(reservation.victims, "victim")
        if not reservations:
            return ReservationResult((), ())

        async def reserve(write: WriteTransaction) -> ReservationResult:
            state, victim_kernels = await self._db_source.lock_batch(write.db_sess, scaling_group, reservations)
            decisions = await finish_in_slices(decide_reservations(reservations, state))
            if decisions.accepted:
                await self._db_source.reserve_sessions(write.db_sess, scaling_group, decisions, victim_kernels)
                write.changed_sessions.update(decisions.victims)
            return ReservationResult(
                tuple(reservation.session_id for reservation in decisions.accepted),
                tuple(decisions.rejected),
                write.transaction_id,
            )

        return await _RESERVE_SESSIONS.run(
            self._db, reserve, request=(scaling_group, reservations), operation_id=operation_id, lease=lease
        )

    @_resilience.apply(OperationKind.WRITE)
    async def release_reservations(
        self,
        session_ids: Sequence[SessionId],
        *,
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReleaseResult:
        """Give up the reservations of sessions, which go on waiting; their victims end all the same.

        ``rejected`` has sessions without one, with a lease those of other groups too. Costs four statements.
        """
        check_ids(session_ids, "session")
        check_lease(lease)
        if not session_ids:
            return ReleaseResult((), ())
        group = None if lease is None else lease.scaling_group

        async def release(write: WriteTransaction) -> ReleaseResult:
            released, blocked = await self._db_source.release_reservations(write.db_sess, session_ids, group)
            asked = dict.fromkeys(session_ids)
            return ReleaseResult(
                tuple(each for each in asked if each in released),
                tuple(each for each in asked if each not in released),
                write.transaction_id,
                tuple(
                    RejectedReservation(each, ReservationRejectionCode.ROW_LOCKED, detail=blocked[each])
                    for each in asked
                    if each in blocked
                ),
            )

        return await _RELEASE_RESERVATIONS.run(
            self._db, release, request=session_ids, operation_id=operation_id, lease=lease
        )
