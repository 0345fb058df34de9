"""Why a session waits, found by looking at everything."""

from typing import Optional

from scheduler_repo.entities.scheduling_data import PendingSession, SchedulingData, SessionDependency
from scheduler_repo.scheduling.explain.reasons import WaitingReason
from scheduler_repo.types import SessionResult, SessionStatus
from tests.support.naive_cluster import KernelGroup, NaiveCluster, groups_of, slot
from tests.support.strategies import OBSERVED_AT

DONE = (SessionStatus.TERMINATED, SessionStatus.CANCELLED, SessionStatus.ERROR)


def is_met(dependency: SessionDependency) -> bool:
    return (dependency.status, dependency.result) == (SessionStatus.TERMINATED, SessionResult.SUCCESS)


def is_hopeless(dependency: SessionDependency) -> bool:
    return not is_met(dependency) and dependency.status in (None, *DONE)


class Oracle:
    """What is true of one session, found by looking at everything."""

    def __init__(self, data: SchedulingData, session: PendingSession) -> None:
        self.data = data
        self.session = session
        self.cluster = NaiveCluster(data)
        self.owners = self.cluster.owners_of(session)

    def first_reason(self) -> Optional[WaitingReason]:
        """The first reason, before it comes to joint placement; None if each group of kernels fits alone."""
        session, data = self.session, self.data
        unmet = [each for each in session.dependencies if not is_met(each)]
        by_reason = {
            WaitingReason.GROUP_INACTIVE: not data.scaling_group.is_active,
            WaitingReason.NO_KERNELS: not session.kernels,
            WaitingReason.UNKNOWN_SLOT: any(slot(kernel.requested_slots, 3) for kernel in session.kernels),
            WaitingReason.START_NOT_REACHED: (session.requested_start_at or OBSERVED_AT) > OBSERVED_AT,
            WaitingReason.DEPENDENCY_CANNOT_BE_MET: any(is_hopeless(each) for each in unmet),
            WaitingReason.DEPENDENCY_NOT_MET: bool(unmet),
            WaitingReason.TOO_MANY_KERNELS: any(owner.has_too_many_kernels(session) for owner in self.owners),
            WaitingReason.SESSION_QUOTA: any(owner.has_too_many_sessions() for owner in self.owners),
            WaitingReason.SLOT_QUOTA: any(owner.slots_above_limit(session) for owner in self.owners),
        }
        held_back = [reason for reason, holds in by_reason.items() if holds]
        if held_back:
            return held_back[0]
        alone = [reason for group in groups_of(session) if (reason := self.reason_of(group)) is not None]
        order = list(WaitingReason)
        return min(alone, key=order.index, default=None)

    def reason_of(self, group: KernelGroup) -> Optional[WaitingReason]:
        """Why kernels that share an agent find none, if they do not."""
        if self.cluster.fitting(self.session, group):
            return None
        if not self.data.agents:
            return WaitingReason.NO_AGENT
        if not self.cluster.eligible(self.session, ()):
            return WaitingReason.DESIGNATED_AGENTS_UNAVAILABLE
        eligible = self.cluster.eligible(self.session, group)
        if not eligible:
            return WaitingReason.NO_AGENT_OF_ARCHITECTURE
        if not any(self.cluster.holds(agent, group, empty=True) for agent in eligible):
            return WaitingReason.LARGER_THAN_ANY_AGENT
        return WaitingReason.NOT_ENOUGH_FREE
