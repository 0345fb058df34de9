"""Whether a pending session may preempt a running one; which one to preempt is the planner's choice."""

from datetime import timedelta
from typing import Optional

from scheduler_repo.entities.obstacles import Protection
from scheduler_repo.entities.scheduling_data import PendingSession, PreemptionCandidate, SchedulingData
from scheduler_repo.types import PreemptionScope


def protection(
    session: PendingSession, candidate: PreemptionCandidate, data: SchedulingData
) -> Optional[Protection]:
    """Find what protects ``candidate`` from ``session`` at ``data.observed_at``; None if nothing does."""
    scope = data.scaling_group.preemption_scope
    if scope is None:
        return Protection.PREEMPTION_OFF
    if candidate.priority >= session.priority:
        return Protection.PRIORITY
    if not _is_in_scope(scope, session, candidate):
        return Protection.OTHER_OWNER
    # A start after the snapshot is of a clock that was ahead: it is not believed, and protects nobody.
    ran = data.observed_at - candidate.running_since
    if timedelta() <= ran < data.scaling_group.preemption_min_runtime:
        return Protection.MIN_RUNTIME
    return None


def may_preempt(session: PendingSession, candidate: PreemptionCandidate, data: SchedulingData) -> bool:
    """Whether ``session`` may preempt ``candidate``, by the group's options and the snapshot's clock.

    The group must have preemption on, and the candidate a strictly lower priority, an owner in scope, and a
    runtime of at least the group's minimum, to the microsecond.
    """
    return protection(session, candidate, data) is None


def preemptible(session: PendingSession, data: SchedulingData) -> tuple[PreemptionCandidate, ...]:
    """Return the sessions that ``session`` may preempt, least important first; one pass over the candidates."""
    return tuple(each for each in data.preemption_candidates if may_preempt(session, each, data))


def _is_in_scope(scope: PreemptionScope, session: PendingSession, candidate: PreemptionCandidate) -> bool:
    match scope:
        case PreemptionScope.USER:
            return session.user_id == candidate.user_id
        case PreemptionScope.PROJECT:
            return session.project_id == candidate.project_id
        case PreemptionScope.DOMAIN:
            return session.domain_name == candidate.domain_name
        case PreemptionScope.GROUP:
            return True
