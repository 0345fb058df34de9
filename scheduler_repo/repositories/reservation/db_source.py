"""The statements of reservations: capacity held for pending sessions while others end for them."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Optional

from asyncpg import Record

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.locked_state import lock_state
from scheduler_repo.database.locks import LOCK_SESSIONS
from scheduler_repo.database.row_locks import (
    KERNEL_RESERVATIONS,
    RESERVATIONS,
    SESSION_ROWS,
    SESSIONS,
    take_all,
    without,
)
from scheduler_repo.database.statements import Statement, expect_rows, fetch_rows, load_statement
from scheduler_repo.database.status_changes import SESSION_KERNELS, write_kernels, write_sessions
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.entities.reservation import SessionReservation
from scheduler_repo.repositories.db_source import DBSource, build_struct
from scheduler_repo.scheduling.admission.reservations import KernelClaim, ReservationDecisions, ReservationState
from scheduler_repo.scheduling.admission.transitions import KernelChange, LockedKernel
from scheduler_repo.scheduling.snapshot.rows import PreemptionCandidateRow
from scheduler_repo.steps import in_slices
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    OwnerScope,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    uuid_order,
)

ENDING_KERNELS = load_statement("reservation/ending_kernels")
OWNER_RESERVATIONS = load_statement("reservation/owner_reservations")
RESERVE_SESSIONS = load_statement("reservation/reserve_sessions")
RELEASE_RESERVATIONS = load_statement("reservation/release_reservations")

# The first columns of a PreemptionCandidateRow, by their names in lock_sessions.sql.
_victim_columns = itemgetter(
    "session_id", "access_key", "user_id", "project_id", "domain_name", "priority", "status_changed_at"
)
_PREEMPTED = "preempted: what it occupies is reserved for a session of higher priority"


class ReservationDBSource(DBSource):
    """Makes reservations and gives them up.

    The pending sessions and their victims are locked together by id, then the owners' quotas, agents and agent
    slots. Victims need no more locks than that: while they end they go on occupying the same.
    """

    async def lock_batch(
        self, db_sess: SASession, scaling_group: ScalingGroupName, reservations: Sequence[SessionReservation]
    ) -> tuple[ReservationState, list[LockedKernel]]:
        """Lock a batch and read the state that it is judged by, with the kernels of its victims.

        Raises ScalingGroupNotFound. Costs 14 statements.
        """
        victims = {victim for reservation in reservations for victim in reservation.victims}
        victim_ids = sorted(victims, key=uuid_order)
        asked = {*victims, *(reservation.session_id for reservation in reservations)}
        session_ids = sorted(asked, key=uuid_order)
        agent_ids = sorted({kernel.agent_id for reservation in reservations for kernel in reservation.kernels})
        free_ids, blocked = await take_all(db_sess, session_ids, *SESSION_ROWS)
        sessions = await fetch_rows(db_sess, LOCK_SESSIONS, free_ids)
        victim_ids = without(victim_ids, blocked)
        kernel_rows = await fetch_rows(db_sess, SESSION_KERNELS, victim_ids)
        victim_kernels = [LockedKernel(*row) async for row in in_slices(kernel_rows)]
        running = await _running_kernels(sessions, victim_kernels, scaling_group)
        locked = await lock_state(db_sess, scaling_group, sessions, agent_ids, running, blocked)
        owner_ids = [[usage.owner_id for usage in locked.data.owners_of(scope)] for scope in OwnerScope]
        # Read after what the owners occupy: what ends in between counts as occupied, never twice as given back.
        state = ReservationState(
            locked,
            ending=await _claims(db_sess, ENDING_KERNELS, agent_ids, *owner_ids),
            reserved=await _claims(db_sess, OWNER_RESERVATIONS, *owner_ids),
        )
        return state, victim_kernels

    async def reserve_sessions(
        self,
        db_sess: SASession,
        scaling_group: ScalingGroupName,
        decisions: ReservationDecisions,
        victim_kernels: Sequence[LockedKernel],
    ) -> None:
        """Add the accepted reservations and have their victims end; costs three statements."""
        victims = dict.fromkeys(decisions.victims, SessionStatus.RUNNING)
        kernels = [
            KernelChange(kernel.kernel_id, kernel.status)
            for kernel in victim_kernels
            if kernel.session_id in victims
        ]
        await write_kernels(db_sess, kernels, SessionStatus.TERMINATING)
        await write_sessions(db_sess, victims, SessionStatus.TERMINATING, _PREEMPTED)
        placed = [(kernel, each.session_id) for each in decisions.accepted for kernel in each.kernels]
        await expect_rows(
            db_sess,
            len(placed),
            RESERVE_SESSIONS,
            scaling_group,
            [each.session_id for each in decisions.accepted],
            [kernel.kernel_id for kernel, _ in placed],
            [session_id for _, session_id in placed],
            [kernel.agent_id for kernel, _ in placed],
        )

    async def release_reservations(
        self, db_sess: SASession, session_ids: Sequence[SessionId], scaling_group: Optional[ScalingGroupName]
    ) -> tuple[set[SessionId], dict[SessionId, RowLocked]]:
        """Lock sessions and delete their reservations, of one group if it is given; costs two statements.

        Returns the sessions that had one, and those of which another transaction has a row locked.
        """
        rows = (SESSIONS, RESERVATIONS, KERNEL_RESERVATIONS)
        free_ids, blocked = await take_all(db_sess, sorted(set(session_ids), key=uuid_order), *rows)
        locked = await fetch_rows(db_sess, LOCK_SESSIONS, free_ids)
        allowed = [row["session_id"] for row in locked if scaling_group in (None, row["scaling_group"])]
        return {row[0] for row in await fetch_rows(db_sess, RELEASE_RESERVATIONS, allowed)}, blocked


async def _running_kernels(
    sessions: Sequence[Record], kernels: Sequence[LockedKernel], scaling_group: ScalingGroupName
) -> list[PreemptionCandidateRow]:
    """List what the victims that run in the group would give back, as rows of preemption_candidates.sql."""
    occupying: dict[SessionId, list[tuple[object, object]]] = {}
    async for kernel in in_slices(kernels):
        if kernel.agent_id is not None and kernel.status in OCCUPYING_STATUSES:
            occupying.setdefault(kernel.session_id, []).append((kernel.agent_id, kernel.occupied_slots))
    return [
        PreemptionCandidateRow._make((*_victim_columns(row), *held))
        async for row in in_slices(sessions)
        if row["status"] == SessionStatus.RUNNING and row["scaling_group"] == scaling_group
        for held in occupying.get(row["session_id"], [(None, None)])
    ]


async def _claims(db_sess: SASession, statement: Statement, *parameters: object) -> list[KernelClaim]:
    rows = await fetch_rows(db_sess, statement, *parameters)
    return [build_struct(KernelClaim, row, slots=tuple(row["slots"])) async for row in in_slices(rows)]
