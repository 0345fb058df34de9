"""Status changes of sessions and their kernels: the one way in which every writer makes them.

A change goes by the table of transitions, is a compare-and-set under the session's lock, leaves a history row,
and gives back to the agents what the new status does not occupy.
"""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from typing import Optional

from scheduler_repo.database.agent_counters import change_agent_counters, lock_agent_counters
from scheduler_repo.database.bulk import array_text
from scheduler_repo.database.engine import SASession
from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.locks import LOCK_SESSIONS, locked_sessions
from scheduler_repo.database.lookups import fetch_slot_names
from scheduler_repo.database.row_locks import (
    AGENT_ROWS,
    REQUEUED_ROWS,
    SESSION_ROWS,
    SESSIONS,
    take_all,
)
from scheduler_repo.database.statements import change_rows, fetch_rows, load_statement
from scheduler_repo.entities.lifecycle import TransitionResult
from scheduler_repo.scheduling.admission.transitions import (
    KernelChange,
    LockedKernel,
    SessionChange,
    StatusChange,
    TransitionState,
    decide_transitions,
    reject_status,
)
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import SessionId, SessionResult, SessionStatus, uuid_order

SESSION_KERNELS = load_statement("lifecycle/session_kernels")
CHANGE_KERNELS = load_statement("lifecycle/change_kernels")
CHANGE_SESSIONS = load_statement("lifecycle/change_sessions")
RECORD_FAILED_AGENTS = load_statement("lifecycle/record_failed_agents")


async def change_statuses(
    write: WriteTransaction, target: StatusChange, changes: Sequence[SessionChange]
) -> TransitionResult:
    """Change the status of those sessions of a batch that may change, and reject the others.

    Costs eight statements, whatever the size of the batch; one more to PENDING (the agents that failed) and to
    RUNNING (the slot types).
    """
    db_sess = write.db_sess
    slot_names = await fetch_slot_names(db_sess) if target.to_status is SessionStatus.RUNNING else ()
    session_ids = sorted({change.session_id for change in changes}, key=uuid_order)
    free_ids, blocked = await take_all(db_sess, session_ids, SESSIONS)
    sessions = await locked_sessions(await fetch_rows(db_sess, LOCK_SESSIONS, free_ids))
    may_change = [
        each
        async for each, session in in_slices(sessions.items())
        if reject_status(target, each, session) is None
    ]
    rows = REQUEUED_ROWS if target.to_status is SessionStatus.PENDING else SESSION_ROWS
    open_ids, found = await take_all(db_sess, may_change, *rows)
    blocked.update(found)
    kernels: dict[SessionId, list[LockedKernel]] = {}
    async for row in in_slices(await fetch_rows(db_sess, SESSION_KERNELS, open_ids)):
        kernels.setdefault(row[0], []).append(LockedKernel(*row))
    agent_ids = {
        kernel.agent_id
        for of_session in kernels.values()
        for kernel in of_session
        if kernel.agent_id is not None and target.may_free_agents
    }
    free_agents, blocked_agents = await take_all(db_sess, sorted(agent_ids), *AGENT_ROWS)
    for kernel in chain.from_iterable(kernels.values()) if blocked_agents else ():
        if kernel.agent_id in blocked_agents:
            blocked[kernel.session_id] = blocked_agents[kernel.agent_id]
    counters = await lock_agent_counters(db_sess, free_agents)
    state = TransitionState(sessions, kernels, counters, slot_names, blocked)
    decisions = await finish_in_slices(decide_transitions(target, changes, state))
    accepted = decisions.accepted
    await write_kernels(db_sess, decisions.kernels, target.to_status)
    from_statuses = {
        session_id: status for session_id in accepted if (status := sessions[session_id].status) is not None
    }
    results = [change.result for change in accepted.values()]
    await write_sessions(db_sess, from_statuses, target.to_status, target.reason, results)
    if target.to_status is SessionStatus.PENDING:
        failed = [
            (each.session_id, agent_id) for each in accepted.values() for agent_id in each.failed_agent_ids
        ]
        of_sessions = [session_id for session_id, _ in failed]
        await fetch_rows(db_sess, RECORD_FAILED_AGENTS, of_sessions, [agent_id for _, agent_id in failed])
    await change_agent_counters(db_sess, counters.given_back, sign=-1)
    write.changed_sessions.update(accepted)
    return TransitionResult(target.to_status, tuple(accepted), tuple(decisions.rejected), write.transaction_id)


async def write_kernels(db_sess: SASession, changes: Sequence[KernelChange], to_status: SessionStatus) -> None:
    """Change the status of kernels whose sessions are locked; costs one statement."""
    rows = []
    async for change in in_slices(changes):
        occupied = None if change.occupied_slots is None else array_text(change.occupied_slots)
        rows.append((change.kernel_id, change.from_status, to_status.value, change.exit_code, occupied))
    await change_rows(db_sess, CHANGE_KERNELS, 5, rows)


async def write_sessions(
    db_sess: SASession,
    from_statuses: Mapping[SessionId, SessionStatus],
    to_status: SessionStatus,
    reason: Optional[str] = None,
    results: Optional[Sequence[Optional[SessionResult]]] = None,
) -> None:
    """Change the status of locked sessions, with history; costs one statement."""
    given = zip(from_statuses.items(), repeat(None) if results is None else results, strict=False)
    rows = [
        (session_id, status.value, to_status.value, result)
        async for (session_id, status), result in in_slices(given)
    ]
    # Reservations are deleted in this order.
    rows.sort(key=lambda row: uuid_order(row[0]))
    await change_rows(db_sess, CHANGE_SESSIONS, 4, rows, reason)
