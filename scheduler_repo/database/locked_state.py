"""The state that a batch of placements or reservations is judged by, read under its locks.

Reservations are made only under the locks of the agents that they are on, so those on a batch's agents are all
seen, and none is added meanwhile. They end without these locks, with their session's change or release: that
only frees capacity, so a batch that still saw one is at worst refused what it might have had.
"""

from collections.abc import Mapping, Sequence
from typing import Optional

from asyncpg import Record

from scheduler_repo.database import lookups
from scheduler_repo.database.engine import SASession, skips_locked
from scheduler_repo.database.locks import (
    FIND_QUOTA_ADDITIONS,
    LOCK_AGENT_SLOTS,
    LOCK_AGENTS,
    LOCK_QUOTAS,
    locked_sessions,
)
from scheduler_repo.database.log_keeping import note_logs
from scheduler_repo.database.row_locks import (
    AGENT_ROWS,
    QUOTAS,
    SCALING_GROUPS,
    take_all,
    take_rows,
)
from scheduler_repo.database.statements import fetch_rows
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.errors import TransactionConflict
from scheduler_repo.metrics.reads import count_unreadable
from scheduler_repo.scheduling.admission.allocations import LockedState
from scheduler_repo.scheduling.snapshot.build import (
    RawSchedulingData,
    build_scheduling_data,
    build_surroundings,
)
from scheduler_repo.scheduling.snapshot.owners import take_sessions
from scheduler_repo.scheduling.snapshot.pending import build_kernels
from scheduler_repo.scheduling.snapshot.rows import (
    OwnerRow,
    PendingSessionRow,
    PreemptionCandidateRow,
    SchedulableAgentRow,
    SurroundingRows,
)
from scheduler_repo.steps import finish_in_slices, in_slices
from scheduler_repo.types import (
    OWNER_FIELDS,
    AgentId,
    AgentStatus,
    ScalingGroupName,
    SessionId,
    SessionStatus,
)

_SESSION_WIDTH = len(PendingSessionRow._fields)
_HAS_QUOTA = OwnerRow._fields.index("has_quota")
_AGENT_WIDTH = len(SchedulableAgentRow._fields)


async def lock_state(
    db_sess: SASession,
    scaling_group: ScalingGroupName,
    sessions: Sequence[Record],
    agent_ids: Sequence[AgentId],
    running: Sequence[PreemptionCandidateRow] = (),
    blocked: Optional[Mapping[SessionId, RowLocked]] = None,
) -> LockedState:
    """Lock the owners and the agents of a batch, then read the state that it is judged by.

    ``sessions`` are the batch's rows of lock_sessions.sql, ``agent_ids`` are sorted, ``running`` are the
    kernels of sessions that the batch would end, ``blocked`` are sessions of which another transaction has a
    row locked; those join them whose owners' quotas are locked. Raises ScalingGroupNotFound. Costs 10
    statements.
    """
    session_ids = [row["session_id"] for row in sessions]
    pending = [
        row[:_SESSION_WIDTH]
        async for row in in_slices(sessions)
        if row["status"] == SessionStatus.PENDING and row["scaling_group"] == scaling_group
    ]
    blocked_sessions = dict(blocked or {})
    if skips_locked(db_sess):
        blocked_sessions = {**await _find_blocked(db_sess, scaling_group, sessions), **blocked_sessions}
        pending = [row for row in pending if row[0] not in blocked_sessions]
    agent_ids, blocked_agents = await take_all(db_sess, agent_ids, *AGENT_ROWS)
    owners, columns = await finish_in_slices(take_sessions(pending))
    owner_ids = owners.parameters
    quotas = await fetch_rows(db_sess, LOCK_QUOTAS, *owner_ids, not skips_locked(db_sess))
    agents = await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
    agent_slots = await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids)
    open_agents = [
        row[:_AGENT_WIDTH]
        async for row in in_slices(agents)
        if row["status"] == AgentStatus.ALIVE
        and row["is_schedulable"]
        and row["scaling_group"] == scaling_group
    ]
    open_ids = {row[0] for row in open_agents}
    groups = await fetch_rows(db_sess, lookups.SCALING_GROUP, scaling_group)
    if not groups:
        raise lookups.no_such_group(scaling_group)
    (snapshot,) = await fetch_rows(db_sess, lookups.SNAPSHOT)
    note_logs(db_sess, is_long=snapshot["is_log_long"])
    kernel_rows = await fetch_rows(db_sess, lookups.PENDING_KERNELS, scaling_group, session_ids)
    dependencies = await fetch_rows(db_sess, lookups.PENDING_DEPENDENCIES, scaling_group, session_ids)
    rows = SurroundingRows(
        slot_types=await fetch_rows(db_sess, lookups.SLOT_TYPES),
        agents=open_agents,
        agent_slots=[row for row in agent_slots if row[0] in open_ids],
        reservations=await fetch_rows(db_sess, lookups.RESERVATIONS, scaling_group),
        preemption_candidates=running,
        owners=owners,
        owner_rows=await fetch_rows(db_sess, lookups.OWNERS, *owner_ids),
    )
    if sum(row[_HAS_QUOTA] is True for row in rows.owner_rows) != len(quotas):
        # Two writers that judge by a row which neither has locked would both take the last of it.
        raise TransactionConflict(
            "a quota of the batch's owners was made while it waited for its locks; nothing was written"
        )
    raw = RawSchedulingData(
        pending_limit=None,
        snapshot=snapshot,
        scaling_group=groups[0],
        surroundings=await finish_in_slices(build_surroundings(rows)),
        pending_sessions=columns,
        pending_kernels=await finish_in_slices(build_kernels(kernel_rows)),
        pending_dependencies=dependencies,
    )
    data = await finish_in_slices(build_scheduling_data(raw))
    count_unreadable(data.unreadable)
    return LockedState(
        data=data,
        sessions=await locked_sessions(sessions),
        known_agents=frozenset(row["agent_id"] for row in agents),
        blocked_sessions=blocked_sessions,
        blocked_agents=blocked_agents,
    )


async def _find_blocked(
    db_sess: SASession, scaling_group: ScalingGroupName, sessions: Sequence[Record]
) -> dict[SessionId, RowLocked]:
    """In a second try find the sessions whose group or owners' quotas are locked; costs three statements."""
    groups: dict[ScalingGroupName, RowLocked] = await take_rows(db_sess, SCALING_GROUPS, [scaling_group])
    if groups:
        return {row["session_id"]: groups[scaling_group] for row in sessions}
    ((pids,),) = await fetch_rows(db_sess, FIND_QUOTA_ADDITIONS)
    if pids is not None:
        return {row["session_id"]: RowLocked("quotas", "(a new one)", tuple(pids)) for row in sessions}
    owner_ids = [[row[fields.one] for row in sessions] for fields in OWNER_FIELDS.values()]
    quotas: dict[tuple[str, str], RowLocked] = await take_rows(db_sess, QUOTAS, *owner_ids)
    blocked: dict[SessionId, RowLocked] = {}
    for row in sessions if quotas else ():
        for scope, fields in OWNER_FIELDS.items():
            quota = quotas.get((scope.value, str(row[fields.one])))
            if quota is not None:
                blocked.setdefault(row["session_id"], quota)
    return blocked
