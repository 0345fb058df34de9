"""The statement that finds one session, whatever its status."""

from datetime import datetime
from typing import Optional

import msgspec

from scheduler_repo.database.engine import SASession
from scheduler_repo.database.statements import fetch_rows, load_statement
from scheduler_repo.types import AgentId, ScalingGroupName, SessionId, SessionResult, SessionStatus

FIND_SESSION = load_statement("session/find_session")


class FoundSession(msgspec.Struct, frozen=True):
    """Where one session stands at ``observed_at``; it has had ``status`` since ``status_changed_at``.

    ``agent_ids``, ordered, are those that its kernels are on or, if it has ended, were on.
    """

    session_id: SessionId
    name: str
    scaling_group: ScalingGroupName
    status: SessionStatus
    result: Optional[SessionResult]
    created_at: datetime
    status_changed_at: datetime
    observed_at: datetime
    agent_ids: tuple[AgentId, ...]


async def find_session(db_sess: SASession, session_id: SessionId) -> Optional[FoundSession]:
    """Find one session in the session's transaction; None if there is none of this id. Costs one statement."""
    rows = await fetch_rows(db_sess, FIND_SESSION, session_id)
    if not rows:
        return None
    ((found_id, name, group, status, result, created_at, changed_at, observed_at, agent_ids),) = rows
    return FoundSession(
        found_id,
        name,
        group,
        SessionStatus(status),
        None if result is None else SessionResult(result),
        created_at,
        changed_at,
        observed_at,
        tuple(agent_ids),
    )
