"""The sessions on lost agents: found by the state of their agents, and put back into the queue or ended."""

from scheduler_repo.database.idempotent_write import WriteTransaction
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS, LOCK_SESSIONS
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.entities.lifecycle import LostSessionAction, RecoveryResult, RejectedTransition
from scheduler_repo.repositories.lifecycle.changing import (
    SESSION_KERNELS,
    Move,
    SessionChange,
    change_batch,
)
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    AgentStatus,
    ScalingGroupName,
    SessionId,
    SessionStatus,
)

SESSIONS_ON_LOST_AGENTS = load_statement("lifecycle/sessions_on_lost_agents")

_LOST = "an agent that it ran on is lost"


async def recover_batch(
    write: WriteTransaction, scaling_group: ScalingGroupName, action: LostSessionAction, limit: int
) -> RecoveryResult:
    """Take up to ``limit`` sessions of a group off lost agents; costs at most 22 statements for any number.

    A session that was told to end becomes ERROR whatever the action: it must not run again, as its user may
    have ended it, and it is not TERMINATED, as nobody saw its containers end.
    """
    changes: dict[SessionStatus, list[SessionChange]] = {}
    for change, status in await _locked_changes(write, scaling_group, limit):
        again = action is LostSessionAction.REQUEUE and status is not SessionStatus.TERMINATING
        changes.setdefault(SessionStatus.PENDING if again else SessionStatus.ERROR, []).append(change)
    rejected: list[RejectedTransition] = []
    changed: dict[SessionStatus, tuple[SessionId, ...]] = {}
    for to_status, batch in sorted(changes.items()):
        result = await change_batch(write, Move(to_status, _LOST), batch)
        changed[to_status] = result.changed
        rejected.extend(result.rejected)
    return RecoveryResult(
        changed.get(SessionStatus.PENDING, ()),
        changed.get(SessionStatus.ERROR, ()),
        tuple(rejected),
        write.transaction_id,
    )


async def _locked_changes(
    write: WriteTransaction, scaling_group: ScalingGroupName, limit: int
) -> list[tuple[SessionChange, SessionStatus]]:
    """Lock all that the changes below will lock, at once and in order, and look again under these locks.

    Meanwhile a session may have ended, or its agent have returned; then it is left as it is.
    """
    db_sess = write.db_sess
    found = [row[0] for row in await fetch_rows(db_sess, SESSIONS_ON_LOST_AGENTS, scaling_group, limit)]
    if not found:
        await require_group(db_sess, scaling_group)
    sessions = await fetch_rows(db_sess, LOCK_SESSIONS, found)
    agents_of: dict[SessionId, set[AgentId]] = {}
    for kernel in await fetch_rows(db_sess, SESSION_KERNELS, found):
        if kernel["status"] in OCCUPYING_STATUSES:
            agents_of.setdefault(kernel["session_id"], set()).add(kernel["agent_id"])
    agent_ids = sorted(set().union(*agents_of.values()))
    agents = await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
    await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids)
    lost = {agent["agent_id"] for agent in agents if agent["status"] == AgentStatus.LOST}
    return [
        (SessionChange(session_id, failed_agent_ids=tuple(sorted(failed))), SessionStatus(session["status"]))
        for session in sessions
        if (failed := lost & agents_of.get(session_id := session["session_id"], set()))
    ]
