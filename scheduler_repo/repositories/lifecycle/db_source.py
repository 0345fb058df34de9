"""The statements of sessions' lives: those that wait too long, are not dispatched yet, or lost an agent."""

from collections.abc import Sequence
from typing import Optional

from asyncpg import Record

from scheduler_repo.database.engine import SASession, skips_locked
from scheduler_repo.database.locks import LOCK_AGENT_SLOTS, LOCK_AGENTS, LOCK_SESSIONS, locked_sessions
from scheduler_repo.database.lookups import require_group
from scheduler_repo.database.row_locks import RECOVERED_AGENT_ROWS, REQUEUED_ROWS, SESSIONS, take_all
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.database.status_changes import SESSION_KERNELS
from scheduler_repo.entities.lifecycle import SessionAttempt, UndispatchedKernel, UndispatchedSession
from scheduler_repo.entities.obstacles import RowLocked
from scheduler_repo.repositories.db_source import DBSource
from scheduler_repo.scheduling.admission.transitions import SessionChange
from scheduler_repo.steps import in_slices
from scheduler_repo.types import (
    OCCUPYING_STATUSES,
    AgentId,
    AgentStatus,
    ScalingGroupName,
    SessionId,
    SessionStatus,
    uuid_order,
)

EXPIRED_PENDING_SESSIONS = load_statement("lifecycle/expired_pending_sessions")
SESSIONS_ON_LOST_AGENTS = load_statement("lifecycle/sessions_on_lost_agents")
UNDISPATCHED_KERNELS = load_statement("lifecycle/undispatched_kernels")
DISPATCH_SESSIONS = load_statement("lifecycle/dispatch_sessions")


class LifecycleDBSource(DBSource):
    """Locks the sessions that a sweep or a recovery changes; lists and marks those to be dispatched.

    A method that finds nothing raises ScalingGroupNotFound if there is no such group, for one statement more.
    """

    async def lock_expired_sessions(
        self, db_sess: SASession, scaling_group: ScalingGroupName, limit: int
    ) -> list[SessionId]:
        """Lock sessions of a group that have been pending for longer than it allows; costs one statement.

        In a second try those come last that another transaction has locked: they are found, not locked.
        """
        if skips_locked(db_sess):
            rows = await fetch_rows(db_sess, EXPIRED_PENDING_SESSIONS.skipping_locked, scaling_group, limit)
            free = [row[0] for row in rows]
            found = await fetch_rows(db_sess, EXPIRED_PENDING_SESSIONS.without_locks, scaling_group, limit)
            return [*free, *(row[0] for row in found if row[0] not in free)][:limit]
        rows = await fetch_rows(db_sess, EXPIRED_PENDING_SESSIONS, scaling_group, limit)
        if not rows:
            await require_group(db_sess, scaling_group)
        return [row[0] for row in rows]

    async def lock_sessions_on_lost_agents(
        self, db_sess: SASession, scaling_group: ScalingGroupName, limit: int
    ) -> tuple[list[tuple[SessionChange, Optional[SessionStatus]]], dict[SessionId, RowLocked]]:
        """Lock sessions on lost agents, and all else that their changes lock; each comes with its status.

        That is None for a word which this version does not know.

        They are looked at again under these locks: one that has ended meanwhile, or whose agent has returned,
        is left out. Those of which another transaction has a row locked come apart. Costs five statements.
        """
        found = [row[0] for row in await fetch_rows(db_sess, SESSIONS_ON_LOST_AGENTS, scaling_group, limit)]
        if not found:
            await require_group(db_sess, scaling_group)
        found, blocked = await take_all(db_sess, found, *REQUEUED_ROWS)
        sessions = await fetch_rows(db_sess, LOCK_SESSIONS, found)
        agents_of: dict[SessionId, set[AgentId]] = {}
        async for kernel in in_slices(await fetch_rows(db_sess, SESSION_KERNELS, found)):
            if kernel["status"] in OCCUPYING_STATUSES:
                agents_of.setdefault(kernel["session_id"], set()).add(kernel["agent_id"])
        needed = sorted(set().union(*agents_of.values()))
        agent_ids, blocked_agents = await take_all(db_sess, needed, *RECOVERED_AGENT_ROWS)
        for session_id, its_agents in agents_of.items() if blocked_agents else ():
            for agent_id in sorted(its_agents.intersection(blocked_agents)):
                blocked[session_id] = blocked_agents[agent_id]
        agents = await fetch_rows(db_sess, LOCK_AGENTS, agent_ids)
        await fetch_rows(db_sess, LOCK_AGENT_SLOTS, agent_ids)
        lost = {agent["agent_id"] for agent in agents if agent["status"] == AgentStatus.LOST}
        statuses = {session_id: found.status for session_id, found in (await locked_sessions(sessions)).items()}
        changes = [
            (SessionChange(row["session_id"], failed_agent_ids=failed), statuses[row["session_id"]])
            async for row in in_slices(sessions)
            if row["session_id"] not in blocked
            and (failed := tuple(sorted(lost & agents_of.get(row["session_id"], set()))))
        ]
        return changes, blocked

    async def list_undispatched_kernels(
        self, db_sess: SASession, scaling_group: ScalingGroupName, limit: Optional[int]
    ) -> list[Record]:
        """List the kernels of undispatched sessions, the longest allocated first; costs one statement."""
        rows = await fetch_rows(db_sess, UNDISPATCHED_KERNELS, scaling_group, limit)
        if not rows:
            await require_group(db_sess, scaling_group)
        return rows

    async def dispatch_sessions(
        self,
        db_sess: SASession,
        dispatches: Sequence[SessionAttempt],
        scaling_group: Optional[ScalingGroupName],
    ) -> tuple[set[SessionId], dict[SessionId, RowLocked]]:
        """Lock sessions and mark the attempts not marked yet, of one group if it is given; two statements.

        Returns the sessions that were marked, and those that another transaction has locked.
        """
        asked = sorted({dispatch.session_id for dispatch in dispatches}, key=uuid_order)
        session_ids, blocked = await take_all(db_sess, asked, SESSIONS)
        locked = {
            row["session_id"]
            for row in await fetch_rows(db_sess, LOCK_SESSIONS, session_ids)
            if scaling_group in (None, row["scaling_group"])
        }
        attempts = [
            dispatch
            async for dispatch in in_slices(dispatches)
            # The driver would take 0.5 for 0, and True for 1.
            if dispatch.session_id in locked
            and type(dispatch.retry_count) is int
            and 0 <= dispatch.retry_count < 2**31
        ]
        ids, counts = [each.session_id for each in attempts], [each.retry_count for each in attempts]
        return {row[0] for row in await fetch_rows(db_sess, DISPATCH_SESSIONS, ids, counts)}, blocked


async def undispatched_from_rows(rows: Sequence[Record]) -> tuple[UndispatchedSession, ...]:
    """Build sessions from rows of undispatched_kernels.sql, in their order."""
    kernels: dict[tuple[SessionId, int], list[UndispatchedKernel]] = {}
    async for session_id, retry_count, *kernel in in_slices(rows):
        kernels.setdefault((session_id, retry_count), []).append(UndispatchedKernel(*kernel))
    sessions = (UndispatchedSession(*attempt, tuple(group)) for attempt, group in kernels.items())
    return tuple([each async for each in in_slices(sessions)])
