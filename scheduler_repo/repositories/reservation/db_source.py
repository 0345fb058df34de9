"""Reservations in PostgreSQL."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.engine import ExtendedAsyncSAEngine
from scheduler_repo.database.idempotent_write import IdempotentWrite
from scheduler_repo.entities.lease import Lease, check_lease
from scheduler_repo.entities.reservation import ReleaseResult, ReservationResult, SessionReservation
from scheduler_repo.repositories.reservation.reserving import release_batch, reserve_batch
from scheduler_repo.resilience.layers import LayerType, layer_resilience
from scheduler_repo.resilience.operation import OperationKind
from scheduler_repo.types import OperationId, ScalingGroupName, SessionId
from scheduler_repo.validation import check_agent_ids, check_ids

_RESERVE_SESSIONS = IdempotentWrite("reserve_sessions", ReservationResult)
_RELEASE_RESERVATIONS = IdempotentWrite("release_reservations", ReleaseResult)
_resilience = layer_resilience(LayerType.RESERVATION_DB_SOURCE)


class ReservationDBSource:
    """Holds capacity for pending sessions while others end for them, and gives it up again."""

    def __init__(self, engine: ExtendedAsyncSAEngine) -> None:
        """Take an engine."""
        self._engine = engine

    @_resilience.apply(OperationKind.WRITE)
    async def reserve_sessions(
        self,
        scaling_group: ScalingGroupName,
        reservations: Sequence[SessionReservation],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReservationResult:
        """Hold capacity for pending sessions of a group and end their victims, each session all or nothing.

        Raises ScalingGroupNotFound, StaleLeaseError, OperationMismatch, InvalidInput for a lease of another
        group or an id that is none, and the errors of the database layer; then nothing was written, save after
        OutcomeUnknown. Costs 21 statements in one transaction, one more with a lease; time grows with the
        batch, the group's reservations and the cluster's occupying kernels.
        """
        check_lease(lease, scaling_group)
        check_ids("session", [each.session_id for each in reservations])
        check_ids("kernel", [kernel.kernel_id for each in reservations for kernel in each.kernels])
        check_agent_ids([kernel.agent_id for each in reservations for kernel in each.kernels])
        check_ids("victim", [victim_id for each in reservations for victim_id in each.victims])
        if not reservations:
            return ReservationResult((), ())
        return await _RESERVE_SESSIONS.run(
            self._engine,
            lambda write: reserve_batch(write, scaling_group, reservations),
            request=(scaling_group, reservations),
            operation_id=operation_id,
            lease=lease,
        )

    @_resilience.apply(OperationKind.WRITE)
    async def release_reservations(
        self,
        session_ids: Sequence[SessionId],
        lease: Optional[Lease] = None,
        operation_id: Optional[OperationId] = None,
    ) -> ReleaseResult:
        """Give up what is held for sessions; with a lease, of its group only.

        Raises InvalidInput for an id that is none, StaleLeaseError, OperationMismatch, OutcomeUnknown and the
        errors of the database layer. Costs four statements in one transaction, one more with a lease.
        """
        check_ids("session", session_ids)
        if not session_ids:
            return ReleaseResult((), ())
        return await _RELEASE_RESERVATIONS.run(
            self._engine,
            lambda write: release_batch(write, session_ids, lease),
            request=session_ids,
            operation_id=operation_id,
            lease=lease,
        )
