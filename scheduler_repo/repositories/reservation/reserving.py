"""The statements that hold capacity for a batch of pending sessions and end its victims, in one transaction.

Locks are taken in the order of every writer: the pending sessions and the victims together by id, the owners'
quota rows, agents, agent slots. Victims need no more locks than that: while they end they occupy what they did.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.locks import CHANGE_SESSIONS, LOCK_SESSIONS
from scheduler_repo.database.statements import Statement, expect_rows, fetch_rows, load_statement
from scheduler_repo.entities.lease import Lease
from scheduler_repo.entities.reservation import ReleaseResult, ReservationResult, SessionReservation
from scheduler_repo.repositories.lifecycle.changing import CHANGE_KERNELS, SESSION_KERNELS
from scheduler_repo.repositories.scheduler.allocating import locked_state
from scheduler_repo.scheduling.admission.reservations import (
    KernelClaim,
    ReservationDecisions,
    ReservationState,
    decide_reservations,
)
from scheduler_repo.scheduling.snapshot.rows import PreemptionCandidateRow
from scheduler_repo.types import OCCUPYING_STATUSES, ScalingGroupName, SessionId, SessionStatus

if TYPE_CHECKING:
    from typing import Optional

    from asyncpg import Record

ENDING_KERNELS = load_statement("reservation/ending_kernels")
OWNER_RESERVATIONS = load_statement("reservation/owner_reservations")
RESERVE_SESSIONS = load_statement("reservation/reserve_sessions")
RELEASE_RESERVATIONS = load_statement("reservation/release_reservations")

_PREEMPTED = "preempted: what it occupies is reserved for a session of higher priority"


async def reserve_batch(
    write: WriteTransaction, scaling_group: ScalingGroupName, reservations: Sequence[SessionReservation]
) -> ReservationResult:
    """Reserve what may be reserved of a batch; costs 19 statements, whatever its size."""
    db_sess = write.db_sess
    victim_ids = sorted({victim for reservation in reservations for victim in reservation.victims})
    session_ids = sorted({*victim_ids, *(reservation.session_id for reservation in reservations)})
    agent_ids = sorted({kernel.agent_id for reservation in reservations for kernel in reservation.kernels})
    sessions = await fetch_rows(db_sess, LOCK_SESSIONS, session_ids)
    victim_kernels = await fetch_rows(db_sess, SESSION_KERNELS, victim_ids)
    running = _running(sessions, victim_kernels, scaling_group)
    locked = await locked_state(db_sess, scaling_group, sessions, agent_ids, running)
    data = locked.data
    owner_ids = tuple(
        [usage.owner_id for usage in usages]
        for usages in (data.access_keys, data.users, data.projects, data.domains)
    )
    # Read after what the owners occupy: what ends in between counts as occupied, never twice as given back.
    state = ReservationState(
        locked,
        ending=await _claims(db_sess, ENDING_KERNELS, agent_ids, *owner_ids),
        held=await _claims(db_sess, OWNER_RESERVATIONS, *owner_ids),
    )
    decisions = decide_reservations(reservations, state)
    if decisions.accepted:
        await _write(db_sess, scaling_group, decisions, victim_kernels)
        write.changed_sessions.update(decisions.victims)
    return ReservationResult(
        tuple(reservation.session_id for reservation in decisions.accepted),
        tuple(decisions.rejected),
        write.transaction_id,
    )


async def release_batch(
    write: WriteTransaction, session_ids: Sequence[SessionId], lease: "Optional[Lease]"
) -> ReleaseResult:
    """Give up reservations, under their sessions' locks; costs two statements."""
    rows = await fetch_rows(write.db_sess, LOCK_SESSIONS, sorted(set(session_ids)))
    allowed = [
        row["session_id"] for row in rows if lease is None or row["scaling_group"] == lease.scaling_group
    ]
    gone = {row[0] for row in await fetch_rows(write.db_sess, RELEASE_RESERVATIONS, allowed)}
    asked = dict.fromkeys(session_ids)
    return ReleaseResult(
        tuple(each for each in asked if each in gone),
        tuple(each for each in asked if each not in gone),
        write.transaction_id,
    )


def _running(
    sessions: "Sequence[Record]", kernels: "Sequence[Record]", scaling_group: ScalingGroupName
) -> list[PreemptionCandidateRow]:
    """What the victims that run in the group would give back, as the read of a tick has it."""
    held: dict[SessionId, list[Record]] = {}
    for kernel in kernels:
        if kernel["agent_id"] is not None and kernel["status"] in OCCUPYING_STATUSES:
            held.setdefault(kernel["session_id"], []).append(kernel)
    return [
        PreemptionCandidateRow(
            row["session_id"],
            row["access_key"],
            row["user_id"],
            row["project_id"],
            row["domain_name"],
            row["priority"],
            row["status_changed_at"],
            None if kernel is None else kernel["agent_id"],
            None if kernel is None else kernel["occupied_slots"],
        )
        for row in sessions
        if row["status"] == SessionStatus.RUNNING and row["scaling_group"] == scaling_group
        for kernel in held.get(row["session_id"], [None])
    ]


async def _claims(db_sess: SASession, statement: Statement, *parameters: object) -> list[KernelClaim]:
    rows = await fetch_rows(db_sess, statement, *parameters)
    return [
        KernelClaim(session_id, access_key, user_id, project_id, domain_name, agent_id, tuple(slots))
        for session_id, access_key, user_id, project_id, domain_name, agent_id, slots in rows
    ]


async def _write(
    db_sess: SASession,
    scaling_group: ScalingGroupName,
    decisions: ReservationDecisions,
    victim_kernels: "Sequence[Record]",
) -> None:
    victims = decisions.victims
    ended = set(victims)
    kernels = [kernel for kernel in victim_kernels if kernel["session_id"] in ended]
    nothing: list[None] = [None] * len(kernels)
    await expect_rows(
        db_sess,
        len(kernels),
        CHANGE_KERNELS,
        [kernel["kernel_id"] for kernel in kernels],
        [kernel["status"] for kernel in kernels],
        [SessionStatus.TERMINATING.value] * len(kernels),
        nothing,
        nothing,
    )
    await expect_rows(
        db_sess,
        len(victims),
        CHANGE_SESSIONS,
        victims,
        [SessionStatus.RUNNING.value] * len(victims),
        [SessionStatus.TERMINATING.value] * len(victims),
        [None] * len(victims),
        _PREEMPTED,
    )
    held = [(kernel, each.session_id) for each in decisions.accepted for kernel in each.kernels]
    await expect_rows(
        db_sess,
        len(held),
        RESERVE_SESSIONS,
        scaling_group,
        [each.session_id for each in decisions.accepted],
        [kernel.kernel_id for kernel, _ in held],
        [session_id for _, session_id in held],
        [kernel.agent_id for kernel, _ in held],
    )
