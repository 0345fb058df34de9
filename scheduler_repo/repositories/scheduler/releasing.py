"""The statements that end a batch of sessions and give their slots back, in one transaction."""

from collections.abc import Sequence
from typing import Optional

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.repositories.scheduler.allocating import (
    LOCK_AGENT_SLOTS,
    LOCK_AGENTS,
    LOCK_SESSIONS,
    change_agents,
    expect_rows,
)
from scheduler_repo.scheduling.allocation import RejectedRelease, ReleaseResult
from scheduler_repo.scheduling.feasibility import total_slots
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    SessionId,
    SessionResult,
    SessionStatus,
    SlotVector,
)

OCCUPYING_KERNELS = load_statement("occupying_kernels")
TERMINATE_KERNELS = load_statement("terminate_kernels")
TERMINATE_SESSIONS = load_statement("terminate_sessions")


async def release_batch(
    db_sess: SASession, session_ids: Sequence[SessionId], result: Optional[SessionResult]
) -> ReleaseResult:
    """End what occupies agents of a batch; costs eight statements, whatever its size."""
    wanted = list(dict.fromkeys(session_ids))
    statuses = {
        row["session_id"]: SessionStatus(row["status"])
        for row in await fetch_rows(db_sess, LOCK_SESSIONS, sorted(wanted))
    }
    ending = {session_id: status for session_id, status in statuses.items() if status in OCCUPYING_STATUSES}
    if ending:
        await _end(db_sess, ending, result)
    return ReleaseResult(
        tuple(session_id for session_id in wanted if session_id in ending),
        tuple(
            RejectedRelease(session_id, statuses.get(session_id))
            for session_id in wanted
            if session_id not in ending
        ),
    )


async def _end(
    db_sess: SASession, ending: dict[SessionId, SessionStatus], result: Optional[SessionResult]
) -> None:
    kernels = await fetch_rows(db_sess, OCCUPYING_KERNELS, list(ending))
    vectors: dict[AgentId, list[SlotVector]] = {}
    for row in kernels:
        vectors.setdefault(row["agent_id"], []).append(row["occupied_slots"])
    agent_ids = sorted(vectors)
    await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
    await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids)
    await expect_rows(db_sess, len(kernels), TERMINATE_KERNELS, [row["kernel_id"] for row in kernels])
    statuses = [status.value for status in ending.values()]
    await expect_rows(db_sess, len(ending), TERMINATE_SESSIONS, list(ending), statuses, result)
    slots = {agent_id: total_slots(amounts) for agent_id, amounts in vectors.items()}
    containers = {agent_id: len(amounts) for agent_id, amounts in vectors.items()}
    await change_agents(db_sess, slots, containers, sign=-1)
