"""Reservations: capacity held for pending sessions while running ones end for them."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.reservation import ReleaseResult, ReservationResult, SessionReservation
from scheduler_repo.repositories.reservation.db_source import ReservationDBSource
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId

_resilience = layer_resilience(LayerType.RESERVATION_REPOSITORY, retries=False)


class ReservationRepository:
    """Makes reservations and gives them up.

    A reservation lasts until its session is placed, leaves the queue otherwise, or is released. What it holds
    is free for nobody else, except those that reserved before; its session is placed by ``allocate_sessions``.
    """

    def __init__(self, db_source: ReservationDBSource) -> None:
        """Take the database source."""
        self._db_source = db_source

    @_resilience.apply(OperationKind.WRITE)
    async def reserve_sessions(
        self,
        scaling_group: ScalingGroupName,
        reservations: Sequence[SessionReservation],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReservationResult:
        """Hold capacity for pending sessions of a group, and have their victims end: they are TERMINATING then.

        Each session is reserved for with all of its kernels and victims, or rejected; one that is rejected
        keeps no other back. A session must be placeable but for the room; each agent must have enough for it
        once all that ends there has ended, beside what other reservations hold; its victims must run in the
        group, and it must be allowed to preempt them (``may_preempt``). Whom to name is the caller's choice,
        and telling the victims' agents is the caller's task. Asking again under the same ``operation_id``
        answers the same and writes nothing twice.

        Raises ScalingGroupNotFound, StaleLeaseError, OperationMismatch, InvalidInput for a lease of another
        group or an id that is none, and the errors of the database layer; then nothing was written, save after
        OutcomeUnknown. Costs 21 statements in one transaction, one more with a lease; time grows with the
        batch, the group's reservations and the cluster's occupying kernels.
        """
        return await self._db_source.reserve_sessions(scaling_group, reservations, lease, operation_id)

    @_resilience.apply(OperationKind.WRITE)
    async def release_reservations(
        self,
        session_ids: Sequence[SessionId],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReleaseResult:
        """Give up what is held for sessions, which go on waiting; their victims end all the same.

        Sessions without a reservation are in ``rejected``, with a lease those of other groups too. Raises
        InvalidInput for an id that is none, StaleLeaseError, OperationMismatch, OutcomeUnknown and the errors
        of the database layer. Costs four statements in one transaction, one more with a lease.
        """
        return await self._db_source.release_reservations(session_ids, lease, operation_id)
