"""Row locks that several entities take, and the one order in which every writer takes them.

1. the operation's id (``claim_operation.sql``): a second try waits for the first
2. the scaling group's lease, FOR SHARE (``check_lease.sql``)
3. resource policies, by name
4. sessions, by id; before any, all scaling groups, by name, while sessions are made that depend on one that is
   not there
5. quotas of owners, by scope and id, behind the view that is locked while an owner gets its first quota
6. agents, by id
7. slots of agents, by agent and slot name
8. reservations that end, by session

A writer leaves out what it does not need. At READ COMMITTED a statement sees what was committed before it
began, so whatever a decision is based on is read by statements that come after the locks. The second try of a
batch, which comes after one that waited too long, waits for none of them: ``row_locks.py``.
"""

from collections.abc import Sequence

from asyncpg import Record

from scheduler_repo.database.statements import load_statement
from scheduler_repo.entities.unreadable import UnreadableRow
from scheduler_repo.errors import UnknownWord
from scheduler_repo.metrics.reads import count_unreadable
from scheduler_repo.scheduling.admission.allocations import LockedSession
from scheduler_repo.steps import in_slices
from scheduler_repo.types import SessionId, SessionStatus

LOCK_SESSIONS = load_statement("session/lock_sessions")
LOCK_QUOTAS = load_statement("quota/lock_quotas")
FIND_QUOTA_ADDITIONS = load_statement("quota/find_quota_additions")
LOCK_AGENTS = load_statement("agent/lock_agents")
LOCK_AGENT_SLOTS = load_statement("agent/lock_agent_slots")


async def locked_sessions(rows: Sequence[Record]) -> dict[SessionId, LockedSession]:
    """Build, from rows of lock_sessions.sql, what decides whether each session may change."""
    return {row["session_id"]: _locked_session(row) async for row in in_slices(rows)}


def _locked_session(row: Record) -> LockedSession:
    scaling_group, retry_count = row["scaling_group"], row["retry_count"]
    try:
        return LockedSession(scaling_group, SessionStatus(row["status"]), retry_count)
    except UnknownWord as error:
        unreadable = UnreadableRow("session", str(row["session_id"]), str(error))
        count_unreadable((unreadable,))
        return LockedSession(scaling_group, None, retry_count, unreadable)
